"""The paper's whole procedure: configurations and gammas in turn, until the visible tests pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from attrs import frozen

from egcfg.interfaces.method import Attempt, Bench, Method, Need
from egcfg.interfaces.solution import Generation, LineStep

__all__ = ["GridOfDecodings"]


class GridOfDecodings(Method):
    """Guided decodings in every configuration at every gamma, in the run's order.

    Stops at the first program that passes the visible tests. Else the answer is the one that passes
    most of them, the earliest of several. Without visible tests the first decoding is the answer.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOGPROBS})

    @frozen(kw_only=True)
    class Options:
        """None."""

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield each line, and after each decoding the program that passes most visible tests."""
        best, answer = -1.0, Attempt(program="", stage="decode")
        for configuration in bench.configurations:
            async for step in bench.decode(configuration):
                if not isinstance(step, Generation):
                    yield step
                    continue
                [run] = await bench.run([step.code])
                if run.share > best:
                    best = run.share
                    answer = Attempt(program=step.code, stage="decode", generation=step)
                yield answer
            if best == 1.0 or not bench.task.visible_tests:
                return
