"""Work at one unit, in one turn or several: claim it, solve it, write its result.

Where units take turns, each is suspended after an attempt: what solves it is an asynchronous
generator, and each turn a task of its own, so that a backend holds nothing for a unit that waits.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from attrs import define, field

from egcfg.decoding.settings import DecodingSettings
from egcfg.errors import BackendError, ContextOverflowError
from egcfg.interfaces.method import Configuration
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.solution import LineStep, Solution
from egcfg.records.recorder import Recorder
from egcfg.runs.claims import Claim, Claims
from egcfg.runs.grid import Unit
from egcfg.runs.observer import RunObserver, RunSummary
from egcfg.runs.places import Place, Places
from egcfg.runs.results import Result
from egcfg.sandbox.failures import Failures
from egcfg.usage.budget import Meter

if TYPE_CHECKING:
    from egcfg.bench import MadeAttempt

__all__ = ["Solve", "Turn", "UnitWork"]

logger = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 3


class Solve(Protocol):
    """Solves and judges a problem, as `egcfg.engine.Engine.solve_steps` does."""

    def __call__(
        self,
        problem: Problem,
        *,
        configurations: Sequence[Configuration],
        attempts_stand: bool,
        recorder: Recorder | None,
    ) -> AsyncGenerator[LineStep | MadeAttempt | Solution, None]:
        """Yield each line and each attempt, and last the judged solution."""


class Turn(enum.Enum):
    """How a turn of a unit ended."""

    OVER = enum.auto()  # there is a result, or it stays undone
    WAITS = enum.auto()  # for its next turn
    REFUSED = enum.auto()  # another process is at it


@define(eq=False)
class _Begun:
    """A unit that this process works at.

    Attributes:
        claim: on it.
        steps: what solves it; None before its first turn.
        recorder: writes down what is done; None: nobody does.
        started: when that was.
        waits: whether it is suspended after an attempt.
    """

    claim: Claim
    steps: AsyncGenerator[LineStep | MadeAttempt | Solution, None] | None = None
    recorder: Recorder | None = None
    started: datetime = field(factory=lambda: datetime.now(UTC))
    waits: bool = False


@define(eq=False)
class UnitWork:
    """What a run does with each unit.

    Attributes:
        places: the units.
        solve: solves one.
        settings: what configurations and gammas do not say.
        observer: is told what happens.
        meter: what units cost is kept when one ends.
        claims: of this process.
        summary: what was done so far.
        recorder_of: gives each unit its recorder; None: nothing is recorded.
        suspends: whether a unit waits after each attempt that leaves a visible test unpassed.
        begun: the units that wait.
        tasks: claimed as a whole.
        undone: tasks of which a unit stays undone.
    """

    places: Places
    solve: Solve
    settings: DecodingSettings
    observer: RunObserver
    meter: Meter
    claims: Claims
    summary: RunSummary
    recorder_of: Callable[[Unit], Recorder] | None
    suspends: bool
    begun: dict[Place, _Begun] = field(factory=dict, init=False)
    tasks: dict[str, Claim] = field(factory=dict, init=False)
    undone: set[str] = field(factory=set, init=False)
    _most_begun: int = field(default=0, init=False)
    _failures_in_a_row: int = field(default=0, init=False)
    _sandbox_failures: Failures = field(factory=Failures, init=False)

    def startable(self, place: Place) -> bool:
        """Whether a unit is to be solved, as far as one can see, and no other process is at it."""
        if self.places.result(place) is not None or self.places.solved(place) is not None:
            return False
        claims = (*self._task_to_claim(place), self.places.claim_path(place))
        return all(map(self.claims.free, claims))

    async def turn(self, place: Place) -> Turn:
        """Work at a unit, if it is still to do, up to its end or the end of an attempt.

        Raises:
            EgcfgError: what is no failure of the unit alone, see `egcfg.runs.runner`.
        """
        begun = self.begun.pop(place, None)
        if begun is None:
            if (result := self.places.result(place)) is not None:
                self.count(done_elsewhere=1)
                self.observer.unit_finished(place.unit, result)
                return Turn.OVER
            begun = self._begin(place)
            if begun is None:
                return Turn.REFUSED
        begun.waits = done = False
        try:
            found = await self._go_on(place, begun)
            done = found is not None and not found.unfinished
        finally:
            if not begun.waits:
                if begun.steps is not None:
                    await begun.steps.aclose()
                self.claims.release(begun.claim, done=done)
        if begun.waits:
            self.begun[place] = begun
            self._most_begun = max(self._most_begun, len(self.begun))
            self.observer.unit_suspended(place.unit)
            return Turn.WAITS
        if found is not None:
            self.observer.unit_finished(place.unit, found)
        return Turn.OVER

    async def close(self) -> None:
        """Leave the units that wait undone."""
        begun, self.begun = list(self.begun.values()), {}
        steps = [each.steps.aclose() for each in begun if each.steps is not None]
        # Whatever ended the run matters more than how a method takes its own end.
        await asyncio.gather(*steps, return_exceptions=True)
        for each in begun:
            self.claims.release(each.claim, done=False)

    def count(self, **changes: Any) -> None:
        """Add to the summary's counters."""
        sums = {name: getattr(self.summary, name) + value for name, value in changes.items()}
        self.summary = attrs.evolve(self.summary, **sums)

    def _begin(self, place: Place) -> _Begun | None:
        """Claim a unit; None: another process is at it."""
        self.places.check_folder()
        for path in self._task_to_claim(place):
            of_task = self.claims.acquire(path)
            if of_task is None:
                return None
            self.tasks[place.task_id] = of_task
            self.places.task_claimed(place.task_id)
        claim = self.claims.acquire(self.places.claim_path(place))
        return None if claim is None else _Begun(claim)

    async def _go_on(self, place: Place, begun: _Begun) -> Result | None:
        """Return the unit's result, written; None if it waits or the model could not answer."""
        if begun.steps is None:
            # Before the claim was ours, its last owner may have written the result.
            self.places.see_anew(place)
            if (result := self.places.result(place)) is not None:
                self.count(done_elsewhere=1)
                return result
            if (solved := self.places.solved(place)) is not None:
                self.places.write(place, result := solved.as_cached())
                self.count(skipped=1)
                return result
            if self.recorder_of is not None:
                begun.recorder = self.recorder_of(place.unit)
            begun.steps = self.solve(
                place.unit.problem,
                configurations=place.unit.configurations(self.settings),
                attempts_stand=self.suspends,
                recorder=begun.recorder,
            )
        self.observer.unit_started(place.unit)
        try:
            result = await self._solve(place, begun, begun.steps)
        except BackendError as error:
            self.undone.add(place.task_id)
            self._note_failure(place.unit, error)
            return None
        self._failures_in_a_row = 0
        if result is not None:
            self.places.write(place, result)
            self.meter.settle()
            if result.unfinished:
                self.undone.add(place.task_id)
                self.count(unfinished=1)
            else:
                self.count(finished=1, passed=int(result.passed))
        return result

    async def _solve(
        self,
        place: Place,
        begun: _Begun,
        steps: AsyncGenerator[LineStep | MadeAttempt | Solution, None],
    ) -> Result | None:
        """Return the unit's result; None if it is suspended first."""
        at_once = max(self.summary.concurrency, self._most_begun)
        try:
            async for step in steps:
                if isinstance(step, Solution):
                    self._sandbox_failures.note(str(place.unit), step.score.sandbox_error)
                    result = Result.of_solution(step, place.sha256, concurrency=at_once)
                    if begun.recorder is None:
                        return result
                    # Before the result, which names it: one killed between them is solved anew.
                    return attrs.evolve(result, record=self.places.record(place, begun.recorder))
                if isinstance(step, LineStep):
                    self.observer.line_decided(place.unit, step)
                elif self.suspends and step.share != 1.0:
                    begun.waits = True
                    return None
        except ContextOverflowError as error:
            logger.warning("%s: %s", place.unit, error)
            ended = datetime.now(UTC)
            return Result.of_overflow(
                error, begun.started, ended, place.sha256, concurrency=at_once
            )
        raise AssertionError("the last step is the solution")

    def _note_failure(self, unit: Unit, error: BackendError) -> None:
        logger.warning("%s stays undone: %s", unit, error)
        self.count(failures=((unit, str(error)),))
        self.observer.unit_failed(unit, error)
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= FAILURES_IN_A_ROW:
            raise BackendError(
                f"the model failed to answer {self._failures_in_a_row} times in a row, last: "
                f"{error}; run again to go on where this run stopped"
            ) from error

    def _task_to_claim(self, place: Place) -> list[Path]:
        """Return the claim of the unit's whole task where that is to be had first, or nothing."""
        claimed = not self.places.stop_when_solved or place.task_id in self.tasks
        return [] if claimed else [self.places.folder.task_claim_path(place.task_id)]
