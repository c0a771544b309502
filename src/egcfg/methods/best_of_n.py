"""The best of n answers by the visible tests: the bar that every other method must pass."""

from __future__ import annotations

from collections.abc import AsyncIterator

from attrs import field, frozen, validators

from egcfg.interfaces.method import Attempt, Bench, Method
from egcfg.interfaces.solution import LineStep
from egcfg.methods.choice import BestSoFar, best_run

__all__ = ["BestOfN"]


class BestOfN(Method):
    """The greedy answer, then others that are drawn until one passes the visible tests, n at most.

    Else the answer is the one that passes most of them; ties go to the largest cluster of programs
    that do the same on the visible calls. Without visible tests there is nothing to choose by, and
    the first answer stands.
    """

    @frozen(kw_only=True)
    class Options:
        """How many answers.

        Attributes:
            n: answers at most.
            temperature: they are drawn at.
            greedy_first: whether the first answer is the greedy one; else it is drawn as well.
        """

        n: int = field(default=10, validator=validators.ge(1))
        temperature: float = field(default=0.8, converter=float, validator=validators.gt(0))
        greedy_first: bool = True

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield the best program so far after each answer."""
        best = BestSoFar(best_run)
        for number in range(self.options.n):
            greedy = self.options.greedy_first and number == 0
            stage = "greedy" if greedy else "sample"
            temperature = 0.0 if greedy else self.options.temperature
            programs = await bench.draw(stage=stage, temperature=temperature)
            yield best.add(await bench.run(programs), stage)
            if best.passed or not bench.task.visible_tests:
                return
