"""Retries at rising temperature (AI Agents That Matter, arXiv 2407.01502)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from attrs import field, frozen, validators

from egcfg.interfaces.method import Attempt, Bench, Method
from egcfg.interfaces.solution import LineStep
from egcfg.methods.choice import BestSoFar, best_run

__all__ = ["Warming"]


class Warming(Method):
    """The greedy answer, then answers at a temperature that rises step by step.

    Stops at the first that passes the visible tests; else as `egcfg.methods.choice.best_run`
    chooses. Without visible tests the greedy answer stands.
    """

    @frozen(kw_only=True)
    class Options:
        """How often, and how warm.

        Attributes:
            n: answers at most, the greedy one included.
            hottest: the temperature of the last one.
        """

        n: int = field(default=5, validator=validators.ge(1))
        hottest: float = field(default=0.8, converter=float, validator=validators.gt(0))

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield the best program so far after each answer."""
        best = BestSoFar(best_run)
        for number in range(self.options.n):
            temperature = self.options.hottest * number / max(1, self.options.n - 1)
            stage = "retry" if number else "greedy"
            programs = await bench.draw(stage=stage, temperature=temperature)
            yield best.add(await bench.run(programs), stage)
            if best.passed or not bench.task.visible_tests:
                return
