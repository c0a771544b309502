"""Execution-guided decoding, the method of the paper: one decoding in one configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator

from egcfg.decoding.settings import Policies
from egcfg.interfaces.method import Attempt, Bench, Method
from egcfg.interfaces.solution import Generation, LineStep

__all__ = ["ExecutionGuidedDecoding"]


class ExecutionGuidedDecoding(Method):
    """One guided decoding; at gamma 0 the model's own greedy answer, which text is enough for.

    Each configuration and gamma of a run is a unit of its own.
    """

    over_grid = True

    Options = Policies
    """The line policies; all off is the paper."""

    def __init__(self, options: Policies) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield each line, and the program at the end."""
        async for step in bench.decode(policies=self.options):
            if isinstance(step, Generation):
                yield Attempt(program=step.code, stage="decode", generation=step)
            else:
                yield step
