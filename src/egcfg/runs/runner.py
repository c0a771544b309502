"""Works through a grid: skip what is done, claim, solve, write; resumed by running it again.

Any number of processes may run the same grid on the same folder at once, and each works on several
units at once, each in an asyncio task of its own. The model is opened before anything is claimed.

In rounds, each task whose answer leaves a visible test unpassed makes one attempt per round, and no
round begins before the one before it is over: a run that is cut short has tried all tasks alike.
A unit that waits for its next turn is suspended; killed, it is begun anew by the next run.

What a unit's failure means is decided here, and in `egcfg.runs.work`:

* a wrong solution is a result;
* a problem that does not fit the model's context is a result, too, with a ``general_error``;
* any other `BackendError` leaves the unit undone, so that the next run tries it again, and several
  in a row (of the last units to finish) stop the run;
* a solution that the sandbox fails on is a result, too; several in a row stop the run;
* a `SandboxError` stops the run: it says nothing about the solution; so does a `UsageError`, and
  whatever the model says when it is opened. The other units in flight are cancelled and stay
  undone;
* a `BudgetError` ends the run, before a unit or in the middle of one, which then stays undone: that
  is an end as good as any, so it is told in the summary. The other units in flight go on to their
  own end: what is paid for counts, and each meets the budget before it asks for more. In rounds
  the last attempt of every task stands for now (`egcfg.runs.results.Result.unfinished`);
* where an observer asks the run to stop, nothing more is started, which is told in the summary,
  too. The units in flight go on to their own end; those that wait for a turn stay undone.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, TypeAlias

import attrs
from attrs import define, field

from egcfg.decoding.settings import DecodingSettings
from egcfg.errors import BudgetError, RunError, RunStoppedError
from egcfg.records.recorder import Recorder
from egcfg.runs.claims import Claims
from egcfg.runs.config_string import SETTINGS_IN_STRING
from egcfg.runs.grid import Grid, Unit
from egcfg.runs.observer import RunObserver, RunSummary
from egcfg.runs.places import Place, Places
from egcfg.runs.store import ResultsFolder
from egcfg.runs.work import Solve, Turn, UnitWork
from egcfg.usage.budget import Meter

__all__ = ["run"]

GENTLE = (BudgetError, RunStoppedError, type(None))
"""Ends of a run that let the units in flight go on."""

# What a config string or a file name says already, and what never changes the text.
NOT_IN_PROVENANCE = frozenset({*SETTINGS_IN_STRING, "gamma", "drafts"})
Waiting: TypeAlias = OrderedDict[Place, None]
"""Units that wait for their turn, in its order; any of them is taken out at once."""


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
    rounds: bool = False,
    observer: RunObserver | None = None,
    meter: Meter | None = None,
    recorder_of: Callable[[Unit], Recorder] | None = None,
    lease: float = 120.0,
) -> RunSummary:
    """Solve every unit of `grid` that is not done yet and that no other process works on.

    Units are started in the grid's order, in rounds the first ones of all tasks before the second
    ones. Cancelled, it gives back the claims of the units in
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
        rounds: whether each task makes one attempt per round, rather than one task after the other
            all of its attempts. No text depends on it.
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
    places = Places.of(grid, folder, provenances, stop_when_solved=stop_when_solved)
    with Claims(lease) as claims:
        work = UnitWork(
            places=places,
            solve=solve,
            settings=base,
            observer=observer or RunObserver(),
            meter=meter or Meter(),
            claims=claims,
            summary=RunSummary(total=len(grid)),
            recorder_of=recorder_of,
            # Where a unit is a whole method: else it is one attempt.
            suspends=rounds and grid.method is not None,
        )
        return await _Run(places, work, open_model, rounds).work_through()


@define(eq=False)
class _Run:
    """One call of `run`: which unit has its turn when.

    Attributes:
        places: the units.
        work: does what is to be done with one.
        open_model: opens the model and returns how many units to work on at once.
        in_rounds: whether each task makes one attempt per round.
        rounds: units whose turn comes in the next round, in the one after it, and so on.
        suspended: units that wait for the next round, as of this one.
        startable: units that may be in flight at once at most.
        ended_by: what stops the run: an error that is not its unit's own, or the end of a budget.
    """

    places: Places
    work: UnitWork
    open_model: Callable[[], Awaitable[int]]
    in_rounds: bool
    rounds: deque[Waiting] = field(factory=deque, init=False)
    suspended: list[Place] = field(factory=list, init=False)
    startable: int = field(default=0, init=False)
    model_is_open: bool = field(default=False, init=False)
    ended_by: Exception | None = field(default=None, init=False)

    async def work_through(self) -> RunSummary:
        started = time.monotonic()
        work, places = self.work, self.places.all
        todo = [place for place in places if self.places.result(place) is None]
        whole_tasks = self.places.stop_when_solved
        self.startable = len({p.task_id for p in todo}) if whole_tasks else len(todo)
        work.count(done_before=len(places) - len(todo))
        work.observer.run_started(len(places), work.summary.done_before)
        try:
            # A second look at what others had claimed: their owners may be done, or gone.
            for _ in range(2):
                todo = await self._do(todo)
            work.count(in_flight_elsewhere=len(todo))
        except (BudgetError, RunStoppedError) as error:
            work.summary = attrs.evolve(work.summary, ended_early=error)
        finally:
            await work.close()
            work.count(seconds=time.monotonic() - started)
            work.meter.settle()
            work.summary = attrs.evolve(work.summary, spending=work.meter.spending)
            work.observer.run_finished(work.summary)
        return attrs.evolve(work.summary, paths=self.places.found())

    async def _do(self, todo: Sequence[Place]) -> list[Place]:
        """Do units; return those that other processes are at."""
        left: list[Place] = []
        self.rounds = deque(_rounds(todo) if self.in_rounds else [Waiting.fromkeys(todo)])
        for number in count(1):
            if not self.rounds:
                break
            waiting = self.rounds.popleft()
            if self.in_rounds and any(map(self._may_go_on, waiting)):
                self.work.observer.round_started(number, len(waiting))
            left += await self._have_turns(waiting)
            if self.suspended:
                later = self.rounds.popleft() if self.rounds else ()
                both = sorted([*self.suspended, *later], key=lambda place: place.position)
                self.rounds.appendleft(Waiting.fromkeys(both))
                self.suspended = []
        if self.ended_by is not None:
            raise self.ended_by
        if self.work.summary.unfinished:
            self.work.meter.check()  # the last of them met the end of the budget by themselves
        return left

    async def _have_turns(self, waiting: Waiting) -> list[Place]:
        """Give each unit a turn, several at once; return those that other processes are at."""
        left: list[Place] = []
        in_flight: dict[asyncio.Task[Turn], Place] = {}
        try:
            while True:
                while len(in_flight) < self.work.summary.concurrency:
                    place = self._next(waiting, in_flight.values())
                    if place is None:
                        break
                    await self._prepare(place)
                    if self._may_go_on(place):
                        # A task of its own for each turn: what a backend holds for it is free then.
                        in_flight[asyncio.create_task(self._turn(place))] = place
                if not in_flight:
                    return left
                done, _ = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in in_flight if task in done]:
                    left += self._end_of_turn(in_flight.pop(task), waiting, task.result())
                if not isinstance(self.ended_by, GENTLE):
                    raise self.ended_by
        finally:
            # Whatever ended this: an error, or being cancelled.
            for task in in_flight:
                task.cancel()
            if in_flight:
                await asyncio.wait(in_flight)

    def _next(self, waiting: Waiting, in_flight: Iterable[Place]) -> Place | None:
        """Take the unit to start next out of `waiting`; None: nothing can be started now."""
        busy = {place.task_id for place in in_flight} if self.places.stop_when_solved else ()
        for place in waiting:
            if place.task_id not in busy and self._may_go_on(place):
                del waiting[place]
                return place
        return None

    def _may_go_on(self, place: Place) -> bool:
        """Whether a unit may have a turn.

        After the end of a budget those that have begun go on: their last attempts stand.
        """
        out_of_budget = isinstance(self.ended_by, BudgetError)
        return self.ended_by is None or (out_of_budget and place in self.work.begun)

    def _end_of_turn(self, place: Place, waiting: Waiting, turn: Turn) -> list[Place]:
        """Return what is left to another process, if one is at the unit; give the task back.

        Where tasks are claimed, the units after a refused one are left as well: in their turn.
        """
        if turn is Turn.WAITS:
            self.suspended.append(place)
            return []
        left = [place] if turn is Turn.REFUSED else []
        if self.places.stop_when_solved:
            others = [
                (units, each)
                for units in (waiting, *self.rounds)
                for each in self.places.by_task[place.task_id]
                if each in units
            ]
            if turn is Turn.REFUSED:
                for units, each in others:
                    del units[each]
                    left.append(each)
            if (turn is Turn.REFUSED or not others) and (
                claim := self.work.tasks.pop(place.task_id, None)
            ):
                done = turn is Turn.OVER and place.task_id not in self.work.undone
                self.work.claims.release(claim, done=done)
        return left

    async def _prepare(self, place: Place) -> None:
        """See, before a unit has a turn, that nobody stopped the run, and that the model is open
        and paid for."""
        if (reason := self.work.observer.stop) is not None:
            self._end(RunStoppedError(f"{reason}; run the same command again to go on"))
            return
        if place not in self.work.begun and not self.work.startable(place):
            return
        try:
            self.work.meter.check()
            if not self.model_is_open:
                concurrency = min(await self.open_model(), self.startable)
                self.work.summary = attrs.evolve(self.work.summary, concurrency=concurrency)
                self.model_is_open = True
                self.places.note_plan()
        except BudgetError as error:
            self._end(error)

    async def _turn(self, place: Place) -> Turn:
        """Let a unit have its turn; an error that is not its own is kept for the run it ends."""
        try:
            return await self.work.turn(place)
        except Exception as error:  # noqa: BLE001 - raised by the run
            self._end(self._cause(error))
            return Turn.OVER

    def _cause(self, error: Exception) -> Exception:
        """Return why something failed: the file system refuses, too, where the folder is gone."""
        if isinstance(error, RunError):
            try:
                self.places.check_folder()
            except RunError as lost:
                return lost
        return error

    def _end(self, error: Exception) -> None:
        """Start nothing more, and suspend nothing."""
        self.work.suspends = False
        if isinstance(self.ended_by, GENTLE):
            self.ended_by = error


def _rounds(todo: Sequence[Place]) -> list[Waiting]:
    """Return the first units of all tasks, then the second ones, and so on."""
    rounds: dict[int, Waiting] = {}
    for place in todo:
        rounds.setdefault(place.number, Waiting())[place] = None
    return [rounds[number] for number in sorted(rounds)]
