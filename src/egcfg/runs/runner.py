"""Works through a grid: skip what is done, claim, solve, write; resumed by running it again.

Any number of processes may run the same grid on the same folder at once, and each works on several
units at once, each in an asyncio task of its own. The model is opened before anything is claimed.
What a unit's failure means is decided here:

* a wrong solution is a result;
* a problem that does not fit the model's context is a result, too, with a ``general_error``;
* any other `BackendError` leaves the unit undone, so that the next run tries it again, and several
  in a row (of the last units to finish) stop the run; a `CapabilityError` stops it at once;
* a solution that the sandbox fails on is a result, too; several in a row stop the run;
* a `SandboxError` stops the run: it says nothing about the solution; so does a `PluginError`, and
  whatever the model says when it is opened. The other units in flight are cancelled and stay
  undone;
* a `BudgetError` ends the run, before a unit or in the middle of one, which then stays undone: that
  is an end as good as any, so it is told in the summary. The other units in flight go on to their
  own end: what is paid for counts, and each meets the budget before it asks for more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
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
)
from egcfg.interfaces.method import Configuration
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.solution import LineStep, Solution
from egcfg.records.recorder import Recorder
from egcfg.runs.claims import Claim, Claims
from egcfg.runs.config_string import SETTINGS_IN_STRING
from egcfg.runs.files import write_atomically
from egcfg.runs.grid import Grid, Unit, problem_sha256
from egcfg.runs.results import Result
from egcfg.runs.store import FileState, Record, ResultsFolder
from egcfg.runs.watching import RunObserver, RunSummary
from egcfg.sandbox.failures import Failures
from egcfg.usage.budget import Meter

__all__ = ["Solve", "run"]

logger = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 3
# What a config string or a file name says already, and what never changes the text.
NOT_IN_PROVENANCE = frozenset({*SETTINGS_IN_STRING, "gamma", "drafts"})


class Solve(Protocol):
    """Decodes and judges a problem, as `egcfg.engine.Engine.solve` does."""

    async def __call__(
        self,
        problem: Problem,
        *,
        configurations: Sequence[Configuration],
        on_step: Callable[[LineStep], None],
        recorder: Recorder | None,
    ) -> Solution:
        """Return the judged solution."""


async def _nothing_to_open() -> int:
    return 1


async def run(
    grid: Grid,
    folder: ResultsFolder,
    solve: Solve,
    *,
    open_model: Callable[[], Awaitable[int]] = _nothing_to_open,
    settings: DecodingSettings | None = None,
    provenance_of: Callable[[str], Mapping[str, Any]] = lambda _: {},
    stop_when_solved: bool = False,
    observer: RunObserver | None = None,
    meter: Meter | None = None,
    recorder_of: Callable[[Unit], Recorder] | None = None,
    lease: float = 120.0,
) -> RunSummary:
    """Solve every unit of `grid` that is not done yet and that no other process works on.

    Units are started in the grid's order. Cancelled, it gives back the claims of the units in
    flight, which stay undone.

    Args:
        grid: the units.
        folder: where results are kept.
        solve: solves one unit.
        open_model: opens the model and returns how many units to work on at once; awaited once,
            before the first unit that is to be solved is claimed: a finished run opens no model.
        settings: what the configurations and gammas do not say (`max_tokens`, `seed`, ...).
        provenance_of: whatever else determines the text with a prompt builder of that name (tracer,
            options, dtype ...), as JSON values; see `ResultsFolder.write_with_provenance`.
        stop_when_solved: skip a task's remaining units once one of any configuration passed. The
            rows of the skipped units are then no single runs any more. A task is claimed whole, and
            one unit of it is in flight at a time: the same ones are skipped however many units and
            processes are at work.
        observer: is told what happens.
        meter: looked at before each unit; it is up to `solve` to count with it what a unit costs.
            None: there is no budget.
        recorder_of: gives each unit its recorder, whose record is kept beside the unit's result;
            None: nothing is recorded.
        lease: seconds after which the claim of a silent process on another machine is taken over.

    Raises:
        RunError: the folder holds results of other settings or problems, or cannot be written.
        SandboxError: the sandbox is not to be trusted here; nothing more was decided.
        BackendError: the model cannot answer, or did not several times in a row.
        UsageError: a problem or a setting cannot be used as given, or a plugin is broken.
    """
    base = settings or DecodingSettings()
    decoding = attrs.asdict(base, filter=lambda each, _: each.name not in NOT_IN_PROVENANCE)
    provenances = {
        str(config): {"decoding": decoding, **provenance_of(config.prompt)} for config in grid.rows
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
            recorder_of=recorder_of,
            claims=claims,
            summary=RunSummary(total=len(grid)),
        )
        return await job.work(grid)


@frozen(eq=False)
class _Place:
    """A unit and where its files are.

    Attributes:
        unit: what to solve.
        config: name of its configuration's folder.
        sha256: fingerprint of its problem.
    """

    unit: Unit
    config: str
    sha256: str

    @property
    def task_id(self) -> str:
        return self.unit.problem.task_id


@define(eq=False)
class _Job:
    """One call of `run`."""

    folder: ResultsFolder
    solve: Solve
    open_model: Callable[[], Awaitable[int]]
    settings: DecodingSettings
    provenances: Mapping[str, Mapping[str, Any]]
    stop_when_solved: bool
    observer: RunObserver
    meter: Meter
    recorder_of: Callable[[Unit], Recorder] | None
    claims: Claims
    summary: RunSummary
    places: list[_Place] = field(factory=list)
    records: dict[_Place, Record] = field(factory=dict)
    tasks: dict[str, Claim] = field(factory=dict)  # claimed as a whole
    startable: int = 0
    model_is_open: bool = False
    failures_in_a_row: int = 0
    sandbox_failures: Failures = field(factory=Failures)
    ended_by: Exception | None = None
    """What stops the run: an error that is not its unit's own, or the end of a budget."""

    async def work(self, grid: Grid) -> RunSummary:
        started = time.monotonic()
        places = self.places = _places(grid)
        todo = [place for place in places if self._result(place) is None]
        self.startable = len({p.task_id for p in todo}) if self.stop_when_solved else len(todo)
        self._count(done_before=len(places) - len(todo))
        self.observer.run_started(len(places), self.summary.done_before)
        try:
            # A second look at what others had claimed: their owners may be done, or gone.
            for _ in range(2):
                todo = await self._attempt_all(todo)
            self._count(in_flight_elsewhere=len(todo))
        except BudgetError as error:
            self.summary = attrs.evolve(self.summary, budget=error)
        finally:
            self._count(seconds=time.monotonic() - started)
            self.meter.settle()
            self.summary = attrs.evolve(self.summary, spending=self.meter.spending)
            self.observer.run_finished(self.summary)
        for place in places:
            if place not in self.records:
                self._read(place)  # others may have done it since this process looked
        found = [self.records[place] for place in places if place in self.records]
        return attrs.evolve(self.summary, records=tuple(found))

    async def _attempt_all(self, todo: Sequence[_Place]) -> list[_Place]:
        """Do units, several at once; return those that other processes are at."""
        waiting, left = list(todo), []
        in_flight: dict[asyncio.Task[bool], _Place] = {}
        try:
            while True:
                while len(in_flight) < self.summary.concurrency and self.ended_by is None:
                    place = self._next(waiting, in_flight.values())
                    if place is None:
                        break
                    await self._prepare(place)
                    if self.ended_by is None:
                        in_flight[asyncio.create_task(self._attempt(place))] = place
                if not in_flight:
                    break
                done, _ = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in in_flight if task in done]:
                    left += self._end_of_unit(in_flight.pop(task), waiting, refused=task.result())
                if not isinstance(self.ended_by, BudgetError | None):
                    break
        finally:
            # Whatever ended this: an error, or being cancelled.
            for task in in_flight:
                task.cancel()
            if in_flight:
                await asyncio.wait(in_flight)
        if self.ended_by is not None:
            raise self.ended_by
        return left

    def _next(self, waiting: list[_Place], in_flight: Iterable[_Place]) -> _Place | None:
        """Take the unit to start next out of `waiting`; None: nothing can be started now."""
        busy = {place.task_id for place in in_flight} if self.stop_when_solved else frozenset()
        number = next((n for n, each in enumerate(waiting) if each.task_id not in busy), None)
        return None if number is None else waiting.pop(number)

    def _end_of_unit(self, place: _Place, waiting: list[_Place], *, refused: bool) -> list[_Place]:
        """Return what is left to another process, if one is at the unit; give the task back.

        Where tasks are claimed, the units after a refused one are left as well: in their turn.
        """
        left = [place] if refused else []
        if self.stop_when_solved:
            if refused:
                left += [each for each in waiting if each.task_id == place.task_id]
                waiting[:] = [each for each in waiting if each.task_id != place.task_id]
            over = all(each.task_id != place.task_id for each in waiting)
            if over and (claim := self.tasks.pop(place.task_id, None)):
                failed = {unit.problem.task_id for unit, _ in self.summary.failures}
                self.claims.release(claim, done=not refused and place.task_id not in failed)
        return left

    async def _prepare(self, place: _Place) -> None:
        """See, before a unit is claimed, that it can be solved: the model is open, and paid for."""
        if self._result(place) is not None or self._solved(place) is not None:
            return
        if not all(map(self.claims.free, (*self._task_to_claim(place), self._claim_path(place)))):
            return
        try:
            self.meter.check()
            if not self.model_is_open:
                concurrency = min(await self.open_model(), self.startable)
                self.summary = attrs.evolve(self.summary, concurrency=concurrency)
                self.model_is_open = True
        except BudgetError as error:
            self.ended_by = error

    async def _attempt(self, place: _Place) -> bool:
        """Do a unit if it is still to do; return whether another process is at it.

        Its failure is its own; whatever else goes wrong is kept for the run that it ends.
        """
        try:
            return not await self._claim_and_do(place)
        except Exception as error:  # noqa: BLE001 - raised by the run
            if isinstance(self.ended_by, BudgetError | None):
                self.ended_by = error
            return False

    async def _claim_and_do(self, place: _Place) -> bool:
        """Do a unit if it is still to do; return False if another process is at it."""
        result = self._result(place)
        for path in self._task_to_claim(place) if result is None else ():
            of_task = self.claims.acquire(path)
            if of_task is None:
                return False
            self.tasks[place.task_id] = of_task
        claim = self.claims.acquire(self._claim_path(place)) if result is None else None
        if result is None and claim is None:
            return False
        done = False
        try:
            # Before the claim was ours, its last owner may have written the result.
            result = result or self._result(place)
            if result is not None:
                self._count(done_elsewhere=1)
            else:
                result = await self._skip_or_solve(place)
            done = result is not None
        finally:
            if claim is not None:
                self.claims.release(claim, done=done)
        if result is not None:
            self.observer.unit_finished(place.unit, result)
        return True

    async def _skip_or_solve(self, place: _Place) -> Result | None:
        """Return the unit's result, written; None if the model could not answer."""
        solved = self._solved(place)
        if solved is not None:
            result = solved.as_cached()
            self._write(place, result)
            self._count(skipped=1)
            return result
        self.observer.unit_started(place.unit)
        try:
            result = await self._solve(place)
        except CapabilityError:
            raise
        except BackendError as error:
            self._note_failure(place.unit, error)
            return None
        self.failures_in_a_row = 0
        self._write(place, result)
        self.meter.settle()
        self._count(finished=1, passed=int(result.passed))
        return result

    async def _solve(self, place: _Place) -> Result:
        unit, concurrency = place.unit, self.summary.concurrency
        recorder = None if self.recorder_of is None else self.recorder_of(unit)
        started = datetime.now(UTC)
        try:
            solution = await self.solve(
                unit.problem,
                configurations=unit.configurations(self.settings),
                on_step=lambda step: self.observer.line_decided(unit, step),
                recorder=recorder,
            )
        except ContextOverflowError as error:
            logger.warning("%s: %s", unit, error)
            return Result.of_overflow(
                error, started, datetime.now(UTC), place.sha256, concurrency=concurrency
            )
        self.sandbox_failures.note(str(unit), solution.score.sandbox_error)
        result = Result.of_solution(solution, place.sha256, concurrency=concurrency)
        if recorder is None:
            return result
        # Before the result, which names it: one that is killed between them is solved anew.
        path = self.folder.record_path(place.config, place.task_id, unit.gamma)
        write_atomically(path, recorder.content())
        return attrs.evolve(result, record=path.name)

    def _write(self, place: _Place, result: Result) -> None:
        self.records[place] = self.folder.write_with_provenance(
            place.config, place.task_id, place.unit.gamma, result, self.provenances[place.config]
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

    def _task_to_claim(self, place: _Place) -> list[Path]:
        """Return the claim of the unit's whole task where that is to be had first, or nothing."""
        claimed = not self.stop_when_solved or place.task_id in self.tasks
        return [] if claimed else [self.folder.task_claim_path(place.task_id)]

    def _claim_path(self, place: _Place) -> Path:
        return self.folder.claim_path(place.config, place.task_id, place.unit.gamma)

    def _solved(self, place: _Place) -> Result | None:
        """Return the result for which the units left of a task are skipped."""
        if not self.stop_when_solved:
            return None
        # A process that was killed may have written a result, but not that it solves its task.
        read = (self._read(each) for each in self.places if each.task_id == place.task_id)
        passed = (each.result for each in read if each and each.result and each.result.passed)
        return self.folder.solved(place.task_id) or next(passed, None)

    def _read(self, place: _Place) -> Record | None:
        """Look for a unit's result file."""
        record = self.folder.read(place.config, place.task_id, place.unit.gamma)
        if record is not None:
            self.records[place] = record
        return record

    def _result(self, place: _Place) -> Result | None:
        """Return a unit's result; None where it is to be solved.

        Raises:
            RunError: it is the result of another problem of the same task id.
        """
        record = self._read(place)
        if record is None:
            return None
        if record.result is None:
            if record.state is FileState.BROKEN:
                logger.warning("%s is broken (%s) and is made anew", record.path, record.problem)
            return None
        if record.result.global_cached:
            # Skipped by another run: a run that skips nothing still has to do it.
            return record.result if self.stop_when_solved else None
        if record.result.problem_sha256 not in (None, place.sha256):
            raise RunError(
                f"{record.path} is the result of another problem: task {place.task_id!r} "
                "has changed since; choose another --results-dir, or delete the file"
            )
        return record.result

    def _count(self, **changes: Any) -> None:
        """Add to the summary's counters."""
        sums = {name: getattr(self.summary, name) + value for name, value in changes.items()}
        self.summary = attrs.evolve(self.summary, **sums)


def _places(grid: Grid) -> list[_Place]:
    """Return the grid's units, in its order; what is the same for many is worked out once."""
    configs = {config: str(config) for config in grid.rows}
    fingerprints = {p.task_id: problem_sha256(p) for p in grid.problems}
    return [_Place(unit, configs[unit.config], fingerprints[unit.problem.task_id]) for unit in grid]
