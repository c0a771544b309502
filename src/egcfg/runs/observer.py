"""What a run tells while it works, and at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import field, frozen

from egcfg.errors import BackendError, BudgetError, RunStoppedError
from egcfg.interfaces.solution import LineStep
from egcfg.runs.grid import Unit
from egcfg.runs.results import Result
from egcfg.runs.store import ResultFile, read_result_file
from egcfg.usage.budget import Spending

__all__ = ["RunObserver", "RunSummary"]


class RunObserver:
    """Is told what a run does; a subclass overrides what it wants to hear.

    Attributes:
        stop: why the run is to stop, looked at before each unit; None: it goes on.
    """

    stop: str | None = None

    def run_started(self, total: int, done: int) -> None:
        """The grid has `total` units; `done` of them were done before."""

    def round_started(self, number: int, units: int) -> None:
        """In rounds: so many units have their turn in the one of that number, from 1."""

    def unit_started(self, unit: Unit) -> None:
        """This process begins to solve `unit`, or goes on with it."""

    def unit_suspended(self, unit: Unit) -> None:
        """In rounds: the unit has made an attempt and waits for its next turn."""

    def line_decided(self, unit: Unit, step: LineStep) -> None:
        """A line of the unit's solution was decided."""

    def unit_finished(self, unit: Unit, result: Result) -> None:
        """The unit's result is written: solved now, or by another process meanwhile, or
        (`Result.global_cached`) skipped because its task is solved."""

    def unit_failed(self, unit: Unit, error: BackendError) -> None:
        """The model could not answer: the unit stays undone."""

    def run_finished(self, summary: RunSummary) -> None:
        """The run ends, however it ends; an exception may follow."""


@frozen(kw_only=True)
class RunSummary:
    """What a run did.

    Attributes:
        total: units of the grid.
        done_before: units that were done when it started.
        finished: units that it solved and judged.
        passed: those of them that passed.
        skipped: units skipped because their task was solved.
        done_elsewhere: units that other processes did meanwhile.
        in_flight_elsewhere: units that live processes are still working on.
        unfinished: units that the end of a budget cut short: their last attempts stand for now,
            and a run with more to spend does them anew.
        failures: units left undone because the model could not answer, with the reason.
        ended_early: why it did, where it came to the end of a budget or an observer stopped it.
        spending: what the meter says.
        concurrency: units that it had in flight at most.
        seconds: wall time of the run.
        paths: the result files that the grid's units have at its end, in the grid's order.
    """

    total: int
    done_before: int = 0
    finished: int = 0
    passed: int = 0
    skipped: int = 0
    done_elsewhere: int = 0
    in_flight_elsewhere: int = 0
    unfinished: int = 0
    failures: tuple[tuple[Unit, str], ...] = ()
    ended_early: BudgetError | RunStoppedError | None = None
    spending: Spending = field(factory=Spending)
    concurrency: int = 1
    seconds: float = 0.0
    paths: tuple[Path, ...] = field(default=(), repr=False)

    @property
    def files(self) -> Iterator[ResultFile]:
        """The results in these files, which are read one after the other.

        Raises:
            RunError: one cannot be opened any more.
        """
        return map(read_result_file, self.paths)

    @property
    def done(self) -> int:
        """Units that are done now."""
        return self.done_before + self.finished + self.skipped + self.done_elsewhere

    @property
    def complete(self) -> bool:
        """Whether every unit is done."""
        return self.done == self.total
