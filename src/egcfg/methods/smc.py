"""Sequential Monte Carlo over lines, weighed by execution (arXiv 2604.16453)."""

from __future__ import annotations

import enum
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

import numpy as np
from attrs import field, frozen, validators
from numpy.typing import NDArray

from egcfg.interfaces.method import Attempt, Bench, Method, Need, PartialAnswer, ProgramRun
from egcfg.interfaces.solution import LineStep
from egcfg.methods.choice import BestSoFar, best_run

__all__ = ["Potential", "SequentialMonteCarlo", "resampled"]

FLOOR = 0.05
"""The least potential: a program that does not run yet may run a line later."""


class Potential(enum.StrEnum):
    """What a particle is weighed by: the higher, the likelier it leads to a right program.

    ``RUNS``: the share of the visible calls that its program so far survives, without an exception
    or a limit. ``PASSES``: the share of the visible tests that one roll-out of it to the end
    passes; a roll-out that passes all of them is the answer.
    """

    RUNS = "runs"
    PASSES = "passes"


class SequentialMonteCarlo(Method):
    """Answers that grow together, line by line; those whose programs do better have more offspring.

    Particles are answers, and a block is a line. After each, a particle's weight is multiplied by
    its potential over the one before, so that in the end it is in proportion to what its whole
    program passes. Where the effective number of particles, one over the sum of the squared
    weights, falls below a half, they are resampled (systematically). The answer is the best program
    of the finished ones, as `egcfg.methods.choice.best_run` chooses; the first that passes the
    visible tests ends the work. Without visible tests there is nothing to weigh by, and the first
    particle to finish stands.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOGPROBS})

    @frozen(kw_only=True)
    class Options:
        """How many particles, and what they are weighed by.

        Attributes:
            particles: answers that grow together.
            potential: what they are weighed by.
            temperature: of the sampling.
            lines: in a block.
        """

        particles: int = field(default=8, validator=validators.ge(1))
        potential: Potential = field(default=Potential.RUNS, converter=Potential)
        temperature: float = field(default=0.8, converter=float, validator=validators.gt(0))
        lines: int = field(default=1, validator=validators.ge(1))

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield the best finished program so far, whenever particles come to their end."""
        size = self.options.particles if bench.task.visible_tests else 1
        particles, weights, potentials = [PartialAnswer()] * size, np.ones(size), np.ones(size)
        known: dict[str, ProgramRun] = {}
        best = BestSoFar(best_run)
        block = 0
        while not all(particle.finished for particle in particles):
            before, block = particles, block + 1
            particles = await self._extended(bench, before, "particles", self.options.lines)
            ends = particles
            if self.options.potential is Potential.PASSES and bench.task.visible_tests:
                ends = await self._extended(bench, particles, "rollout", None)
            programs = list(dict.fromkeys(each.program for each in ends))
            new = [program for program in programs if program not in known]
            known |= zip(new, await bench.run(new), strict=True)
            runs = [known[each.program] for each in ends]
            ended = [
                run
                for run, end, was in zip(runs, ends, before, strict=True)
                if end.finished and not was.finished
            ]
            if ended:
                yield best.add(ended, "particles")
            if best.passed:
                return

            last = potentials
            potentials = np.array([_potential(e, run) for e, run in zip(ends, runs, strict=True)])
            weights = weights * potentials / last
            weights /= weights.sum()
            if 1.0 / float(np.square(weights).sum()) >= size / 2:
                continue
            chosen = resampled(weights, _random(bench, block))
            bench.note("resampled", line=block, kept=len(set(chosen)), of=size)
            particles = [particles[n] for n in chosen]
            weights, potentials = np.ones(size), potentials[chosen]

    async def _extended(
        self, bench: Bench, answers: Sequence[PartialAnswer], stage: str, lines: int | None
    ) -> list[PartialAnswer]:
        return await bench.extend(
            answers, stage=stage, lines=lines, temperature=self.options.temperature
        )


def _potential(answer: PartialAnswer, run: ProgramRun) -> float:
    if answer.finished:
        return max(run.share, FLOOR)
    # Nothing that could run says nothing.
    return max(_survived(run), FLOOR) if answer.program else 1.0


def _survived(run: ProgramRun) -> float:
    """Return the share of the calls that ended neither in an exception nor at a limit."""
    fine = sum(outcome.startswith(("gave ", "ok,")) for outcome in run.outcomes)
    return fine / len(run.outcomes) if run.outcomes else 1.0


def _random(bench: Bench, block: int) -> float:
    seed = bench.configurations[0].settings.seed
    stream = zlib.crc32(f"{bench.task.task_id}/resample{block}".encode())
    return float(np.random.default_rng([seed, stream]).random())


def resampled(weights: NDArray[np.float64], random: float) -> list[int]:
    """Return the places of the particles that go on: each as often as its weight asks for.

    Systematic resampling (Kitagawa 1996): of n particles with weights that sum to 1, one with the
    weight w goes on floor(n w) or ceil(n w) times.

    Args:
        weights: shape (n,), summing to 1.
        random: in [0, 1).
    """
    positions = (random + np.arange(len(weights))) / len(weights)
    places = np.searchsorted(np.cumsum(weights), positions, side="right")
    return [min(int(place), len(weights) - 1) for place in places]
