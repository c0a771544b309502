"""Works through a grid: skip what is done, claim, solve, write; resumed by running it again.

Any number of processes may run the same grid on the same folder at once. What a unit's failure
means is decided here:

* a wrong solution is a result;
* a problem that does not fit the model's context is a result too, with a ``general_error``: trying
  again would give the same;
* any other `BackendError` leaves the unit undone, so that the next run tries it again, and several
  in a row stop the run; a `CapabilityError` stops it at once;
* a `SandboxError` stops the run: it says nothing about the solution; so does a `PluginError`, and
  whatever the model says when it is opened;
* a `BudgetError` ends the run, before a unit or in the middle of one, which then stays undone: that
  is an end as good as any, so it is told in the summary.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import attrs
from attrs import define, field, frozen

from egcfg.decoding.settings import DecodingSettings
from egcfg.errors import (
    BackendError,
    BudgetError,
    CapabilityError,
    ContextOverflowError,
    RunError,
    SandboxError,
)
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.scorer import TestStatus
from egcfg.interfaces.solution import LineStep, Solution
from egcfg.runs.claims import Claims
from egcfg.runs.config_string import SETTINGS_IN_STRING
from egcfg.runs.grid import Grid, Unit, problem_sha256
from egcfg.runs.results import Result
from egcfg.runs.store import FileState, Record, ResultsFolder
from egcfg.usage.budget import Meter, Spending

__all__ = [
    "RunObserver",
    "RunSummary",
    "Solve",
    "grid_records",
    "run",
]

logger = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 3
# What a config string or a file name says already, and what never changes the text.
NOT_IN_PROVENANCE = frozenset({*SETTINGS_IN_STRING, "gamma", "drafts"})


class Solve(Protocol):
    """Decodes and judges a problem, as `egcfg.engine.Engine.solve` does."""

    async def __call__(
        self,
        problem: Problem,
        settings: DecodingSettings,
        *,
        prompt: str,
        on_step: Callable[[LineStep], None],
    ) -> Solution:
        """Return the judged solution; `prompt` names a prompt builder."""


async def _nothing_to_open() -> None:
    pass


class RunObserver:
    """Is told what a run does; a subclass overrides what it wants to hear."""

    def run_started(self, total: int, done: int) -> None:
        """The grid has `total` units; `done` of them were done before."""

    def unit_started(self, unit: Unit) -> None:
        """This process begins to solve `unit`."""

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
        failures: units left undone because the model could not answer, with the reason.
        budget: why it ended early, where it came to the end of a budget.
        spending: what the meter says.
        seconds: wall time of the run.
    """

    total: int
    done_before: int = 0
    finished: int = 0
    passed: int = 0
    skipped: int = 0
    done_elsewhere: int = 0
    in_flight_elsewhere: int = 0
    failures: tuple[tuple[Unit, str], ...] = ()
    budget: BudgetError | None = None
    spending: Spending = field(factory=Spending)
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """Units that are done now."""
        return self.done_before + self.finished + self.skipped + self.done_elsewhere

    @property
    def complete(self) -> bool:
        """Whether every unit is done."""
        return self.done == self.total


async def run(
    grid: Grid,
    folder: ResultsFolder,
    solve: Solve,
    *,
    open_model: Callable[[], Awaitable[object]] = _nothing_to_open,
    settings: DecodingSettings | None = None,
    provenance_of: Callable[[str], Mapping[str, Any]] = lambda _: {},
    stop_when_solved: bool = False,
    observer: RunObserver | None = None,
    meter: Meter | None = None,
    lease: float = 120.0,
) -> RunSummary:
    """Solve every unit of `grid` that is not done yet and that no other process works on.

    Cancelled, it gives back the claim of the unit in flight, which stays undone.

    Args:
        grid: the units.
        folder: where results are kept.
        solve: solves one unit.
        open_model: awaited before each unit that is to be solved, such as
            `egcfg.engine.Engine.open`, which does nothing from the second time on: a finished run
            opens no model.
        settings: what the configurations and gammas do not say (`max_tokens`, `seed`, ...).
        provenance_of: whatever else determines the text with a prompt builder of that name (tracer,
            options, dtype ...), as JSON values; see `ResultsFolder.write_with_provenance`.
        stop_when_solved: skip a task's remaining units once one of any configuration passed. The
            rows of the skipped units are then no single runs any more.
        observer: is told what happens.
        meter: looked at before each unit; it is up to `solve` to count with it what a unit costs.
            None: there is no budget.
        lease: seconds after which the claim of a silent process on another machine is taken over.

    Raises:
        RunError: the folder holds results of other settings or problems, or cannot be written.
        SandboxError: the sandbox is not to be trusted here; nothing more was decided.
        BackendError: the model cannot answer, or did not several times in a row.
        UsageError: a problem or a setting cannot be used as given, or a plugin is broken.
    """
    base = settings or DecodingSettings()
    decoding = attrs.asdict(
        base, filter=lambda attribute, _: attribute.name not in NOT_IN_PROVENANCE
    )
    provenances = {
        str(config): {"decoding": decoding, **provenance_of(config.prompt)}
        for config in grid.configs
    }
    for config, provenance in provenances.items():
        # That of a folder without results is fixed together with its first one.
        if folder.has_results(config):
            folder.fix_provenance(config, provenance)
    with Claims(lease) as claims:
        job = _Job(
            folder=folder,
            solve=solve,
            open_model=open_model,
            settings=base,
            provenances=provenances,
            stop_when_solved=stop_when_solved,
            observer=observer or RunObserver(),
            meter=meter or Meter(),
            claims=claims,
            summary=RunSummary(total=len(grid)),
        )
        return await job.work(grid)


def grid_records(grid: Grid, folder: ResultsFolder) -> list[Record]:
    """Return the result files of the grid's units that exist.

    Raises:
        RunError: a file cannot be opened.
    """
    found = (folder.read(str(unit.config), unit.problem.task_id, unit.gamma) for unit in grid)
    return [record for record in found if record is not None]


@define
class _Job:
    """One call of `run`."""

    folder: ResultsFolder
    solve: Solve
    open_model: Callable[[], Awaitable[object]]
    settings: DecodingSettings
    provenances: Mapping[str, Mapping[str, Any]]
    stop_when_solved: bool
    observer: RunObserver
    meter: Meter
    claims: Claims
    summary: RunSummary
    failures_in_a_row: int = 0

    async def work(self, grid: Grid) -> RunSummary:
        started = time.monotonic()
        todo = [unit for unit in grid if self._result(unit) is None]
        self._count(done_before=len(grid) - len(todo))
        self.observer.run_started(len(grid), self.summary.done_before)
        try:
            # A second look at what others had claimed: their owners may be done, or gone.
            for _ in range(2):
                todo = [unit for unit in todo if not await self._attempt(unit)]
            self._count(in_flight_elsewhere=len(todo))
        except BudgetError as error:
            self.summary = attrs.evolve(self.summary, budget=error)
        finally:
            self._count(seconds=time.monotonic() - started)
            self.meter.settle()
            self.summary = attrs.evolve(self.summary, spending=self.meter.spending)
            self.observer.run_finished(self.summary)
        return self.summary

    async def _attempt(self, unit: Unit) -> bool:
        """Do a unit if it is still to do; return False if another process is at it."""
        stem = self.folder.claim_path(str(unit.config), unit.problem.task_id, unit.gamma)
        result = self._result(unit)
        claim = self.claims.acquire(stem) if result is None else None
        if result is None and claim is None:
            return False
        done = False
        try:
            # Before the claim was ours, its last owner may have written the result.
            result = result or self._result(unit)
            if result is not None:
                self._count(done_elsewhere=1)
            else:
                result = await self._skip_or_solve(unit)
            done = result is not None
        finally:
            if claim is not None:
                self.claims.release(claim, done=done)
        if result is not None:
            self.observer.unit_finished(unit, result)
        return True

    async def _skip_or_solve(self, unit: Unit) -> Result | None:
        """Return the unit's result, written; None if the model could not answer."""
        solved = self.folder.solved(unit.problem.task_id) if self.stop_when_solved else None
        if solved is not None:
            result = solved.as_cached()
            self._write(unit, result)
            self._count(skipped=1)
            return result
        # Before the model is loaded, too.
        self.meter.check()
        await self.open_model()
        self.observer.unit_started(unit)
        try:
            result = await self._solve(unit)
        except CapabilityError:
            raise
        except BackendError as error:
            self._note_failure(unit, error)
            return None
        self.failures_in_a_row = 0
        self._write(unit, result)
        self.meter.settle()
        self._count(finished=1, passed=int(result.passed))
        return result

    async def _solve(self, unit: Unit) -> Result:
        fingerprint = problem_sha256(unit.problem)
        started = datetime.now(UTC)
        try:
            solution = await self.solve(
                unit.problem,
                unit.config.settings(self.settings, gamma=unit.gamma),
                prompt=unit.config.prompt,
                on_step=lambda step: self.observer.line_decided(unit, step),
            )
        except ContextOverflowError as error:
            logger.warning("%s: %s", unit, error)
            return Result.of_overflow(error, started, datetime.now(UTC), fingerprint)
        for test in solution.score.results:
            if test.status is TestStatus.SANDBOX_ERROR:
                raise SandboxError(
                    f"the sandbox failed on {unit}: {test.error}; see egcfg doctor, then run again"
                )
        return Result.of_solution(solution, fingerprint)

    def _write(self, unit: Unit, result: Result) -> None:
        config = str(unit.config)
        self.folder.write_with_provenance(
            config, unit.problem.task_id, unit.gamma, result, self.provenances[config]
        )

    def _note_failure(self, unit: Unit, error: BackendError) -> None:
        logger.warning("%s stays undone: %s", unit, error)
        self._count(failures=((unit, str(error)),))
        self.observer.unit_failed(unit, error)
        self.failures_in_a_row += 1
        if self.failures_in_a_row >= FAILURES_IN_A_ROW:
            raise BackendError(
                f"the model failed to answer {self.failures_in_a_row} times in a row, last: "
                f"{error}; run again to go on where this run stopped"
            ) from error

    def _result(self, unit: Unit) -> Result | None:
        """Return a unit's result; None where it is to be solved.

        Raises:
            RunError: it is the result of another problem of the same task id.
        """
        record = self.folder.read(str(unit.config), unit.problem.task_id, unit.gamma)
        if record is None:
            return None
        if record.result is None:
            if record.state is FileState.BROKEN:
                logger.warning("%s is broken (%s) and is made anew", record.path, record.problem)
            return None
        if record.result.global_cached:
            # Skipped by another run: a run that skips nothing still has to do it.
            return record.result if self.stop_when_solved else None
        if record.result.problem_sha256 not in (None, problem_sha256(unit.problem)):
            raise RunError(
                f"{record.path} is the result of another problem: task {unit.problem.task_id!r} "
                "has changed since; choose another --results-dir, or delete the file"
            )
        return record.result

    def _count(self, **changes: Any) -> None:
        """Add to the summary's counters."""
        sums = {name: getattr(self.summary, name) + value for name, value in changes.items()}
        self.summary = attrs.evolve(self.summary, **sums)
