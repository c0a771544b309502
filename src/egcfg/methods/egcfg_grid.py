"""The paper's whole procedure: configurations and gammas in turn, until the visible tests pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from attrs import frozen

from egcfg.interfaces.method import Attempt, Bench, Method, Need
from egcfg.interfaces.solution import LineStep
from egcfg.methods.choice import BestSoFar, nearest_run

__all__ = ["GridOfDecodings"]


class GridOfDecodings(Method):
    """Guided decodings in every configuration at every gamma, in the run's order.

    Stops at the first program that passes the visible tests; else the answer is the one that is
    nearest to it (`egcfg.methods.choice.rank`). Without visible tests the first decoding is the
    answer.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOGPROBS})

    @frozen(kw_only=True)
    class Options:
        """None."""

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield each line, and after each decoding the program that passes most visible tests."""
        best = BestSoFar(nearest_run)
        for configuration in bench.configurations:
            async for step in bench.decode(configuration):
                if isinstance(step, LineStep):
                    yield step
                else:
                    yield best.add(await bench.run([step.code]), "decode", step)
            if best.passed or not bench.task.visible_tests:
                return
