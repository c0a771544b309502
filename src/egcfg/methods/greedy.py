"""Greedy decoding: one answer of the likeliest tokens, the baseline of everything else."""

from __future__ import annotations

from collections.abc import AsyncIterator

from attrs import frozen

from egcfg.interfaces.method import Attempt, Bench, Method
from egcfg.interfaces.solution import LineStep

__all__ = ["Greedy"]


class Greedy(Method):
    """The model's likeliest answer."""

    @frozen(kw_only=True)
    class Options:
        """None."""

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield the one program."""
        [program] = await bench.draw(stage="greedy")
        yield Attempt(program=program, stage="greedy")
