"""The choice among programs by what they do on the visible tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from attrs import define, evolve, field

from egcfg.interfaces.method import Attempt, ProgramRun
from egcfg.interfaces.scorer import TestStatus
from egcfg.interfaces.solution import Generation

__all__ = ["BestSoFar", "best_run", "nearest_run", "rank"]

_JUDGED = (TestStatus.PASSED, TestStatus.FAILED)
"""Of a program that came to a value, or to output."""
_NO_ANSWER = Attempt(program="", stage="")


@define
class BestSoFar:
    """The programs that a method ran so far, of which the best is its answer.

    Attributes:
        choose: returns the best of some runs.
        runs: all of them, in the order in which they were made, without their traces.
        answer: the best one; before the first, an empty program.
    """

    choose: Callable[[Sequence[ProgramRun]], ProgramRun]
    runs: list[ProgramRun] = field(factory=list)
    answer: Attempt = _NO_ANSWER

    @property
    def best(self) -> ProgramRun:
        """The run of the best program; there is one."""
        return self.choose(self.runs)

    @property
    def passed(self) -> bool:
        """Whether one passed its tests."""
        return any(run.passed for run in self.runs)

    def add(
        self, runs: Sequence[ProgramRun], stage: str, generation: Generation | None = None
    ) -> Attempt:
        """Add programs; return the best one up to now.

        Args:
            runs: of the programs; at least one where there was none before.
            stage: which part of the method made them.
            generation: the decoding that they come from.
        """
        self.runs += [evolve(run, traces=()) for run in runs]
        best = self.best.program
        if self.answer is _NO_ANSWER or best != self.answer.program:
            made = generation if any(run.program == best for run in runs) else None
            self.answer = Attempt(program=best, stage=stage, generation=made)
        return self.answer


def best_run(runs: Sequence[ProgramRun]) -> ProgramRun:
    """Return the run that passes most visible tests.

    Of several, one of the largest cluster: programs whose outcomes are equal are counted together
    (MBR-exec; Shi et al. 2022). Crashes are no cluster, nor are answers that were cut: they agree
    for other reasons than being right. Then the earliest.

    Args:
        runs: at least one, in the order in which they were made.
    """
    sizes = Counter(run.outcomes for run in runs if _counts(run))

    def worth(place: int) -> tuple[float, int, int]:
        run = runs[place]
        return run.share, sizes[run.outcomes] if _counts(run) else 0, -place

    return runs[max(range(len(runs)), key=worth)]


def nearest_run(runs: Sequence[ProgramRun]) -> ProgramRun:
    """Return the run that is nearest to passing, by `rank`; of several the earliest.

    Args:
        runs: at least one, in the order in which they were made.
    """
    return max(runs, key=rank)


def rank(run: ProgramRun) -> tuple[float, int]:
    """Return what orders programs while one is repaired: the greater, the better.

    More tests passed; of as many, fewer exceptions and limits: a wrong value is closer to a right
    one.
    """
    ended = sum(result.status not in _JUDGED for result in run.results)
    return run.share, -ended if run.results else -1


def _counts(run: ProgramRun) -> bool:
    return not run.cut and any(result.status in _JUDGED for result in run.results)
