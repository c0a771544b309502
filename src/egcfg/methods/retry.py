"""Whole answers, each led away from the programs that failed before it.

A model imitates what it is shown, so that programs that fail are guided away from: one signal per
answer, at a gamma below 0, among the tokens that are plausible without it (contrastive decoding;
arXiv 2210.15097).
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from typing import ClassVar

from attrs import evolve, field, frozen, validators

from egcfg.interfaces.method import Attempt, Bench, Configuration, Method, Need
from egcfg.interfaces.solution import LineStep
from egcfg.methods.choice import BestSoFar, best_run

__all__ = ["Retry"]


class Retry(Method):
    """The greedy answer, then answers that the programs that failed before them guide.

    The failed programs and their traces fill the signal's slot, the earliest first. The second
    answer is greedy, too; later ones are drawn, for else the same would come again. Stops at the
    first that passes the visible tests; else as `egcfg.methods.choice.best_run` chooses. Without
    visible tests the greedy answer stands. Where no failed program can be executed, nothing guides,
    and the answer is drawn.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOGPROBS})

    @frozen(kw_only=True)
    class Options:
        """How often, and how strongly.

        Attributes:
            n: answers at most, the greedy one included.
            gamma: strength of guidance by the failed programs: below 0 away from them, above 0
                towards them, as guidance rules have it; 0: only draws.
            temperature: of the drawn answers.
            placebo: whether the signal shows another task's programs, as many, which are drawn for
                it: the control for what failures and execution do. Their cost counts.
        """

        n: int = field(default=10, validator=validators.ge(1))
        gamma: float = field(default=-0.3, converter=float)
        temperature: float = field(default=0.8, converter=float, validator=validators.gt(0))
        placebo: bool = False

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield each line, and the best program so far after each answer."""
        best = BestSoFar(best_run)
        yield best.add(await bench.run(await bench.draw(stage="greedy")), "greedy")
        if not bench.task.visible_tests:
            return
        shown_at = bench.another() if self.options.placebo else bench
        shown: list[str] = []
        for number in range(1, self.options.n):
            if best.passed:
                return
            failed = list(dict.fromkeys(run.program for run in best.runs))
            if self.options.placebo:
                while len(shown) < len(failed):
                    temperature = self.options.temperature if shown else 0.0
                    shown += await shown_at.draw(stage="placebo", temperature=temperature)
            else:
                shown = failed
            signal = await shown_at.signal(shown, away=self.options.gamma < 0)
            greedy = number == 1 and self.options.gamma != 0 and bool(signal.text)
            bench.note("retry", number=number, shown=len(shown), tokens=signal.tokens)
            configuration = self._configuration(bench, number, greedy=greedy)
            async for step in bench.decode(configuration, signal=signal):
                if isinstance(step, LineStep):
                    yield step
                    continue
                if step.code in failed:
                    bench.note("repeated_program", number=number)
                yield best.add(await bench.run([step.code]), "retry", step)

    def _configuration(self, bench: Bench, number: int, *, greedy: bool) -> Configuration:
        """Return how to decode an answer, by its number from 0."""
        configuration = bench.configurations[0]
        settings = evolve(
            configuration.settings,
            gamma=self.options.gamma,
            guided_temperature=0.0 if greedy else self.options.temperature,
            seed=zlib.crc32(f"{configuration.settings.seed}/retry{number}".encode()),
        )
        return evolve(configuration, settings=settings)
