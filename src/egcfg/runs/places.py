"""The units of a grid and their result files: which are done, and which are still to do."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from egcfg.errors import RunError
from egcfg.records.recorder import Recorder
from egcfg.runs.files import see_anew, write_atomically
from egcfg.runs.grid import Grid, Unit, problem_sha256
from egcfg.runs.results import Result
from egcfg.runs.store import SOLVED_NAME, FileState, ResultFile, ResultsFolder

__all__ = ["Place", "Places"]

logger = logging.getLogger(__name__)

WHEN_IT_IS_BACK = "run again when it is back: finished units are kept"


@frozen(eq=False)
class Place:
    """A unit and where its files are.

    Attributes:
        unit: what to solve.
        config: name of its configuration's folder.
        sha256: fingerprint of its problem.
        position: in the grid, from 0.
        number: of it among its task's units, from 0.
    """

    unit: Unit
    config: str
    sha256: str
    position: int
    number: int

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self.unit.problem.task_id


@define(eq=False)
class Places:
    """All units of a grid in a results folder.

    Attributes:
        folder: where results are kept.
        all: in the grid's order.
        by_task: the same, by task.
        provenances: what determines the text, by a configuration's folder.
        stop_when_solved: whether a solved task's other units are skipped.
        paths: the result files that were found or written.
    """

    folder: ResultsFolder
    all: Sequence[Place]
    by_task: Mapping[str, Sequence[Place]]
    provenances: Mapping[str, Mapping[str, Any]]
    stop_when_solved: bool
    paths: dict[Place, Path] = field(factory=dict, init=False)
    _unsolved: set[str] = field(factory=set, init=False)  # tasks none of whose units had passed
    _identity: tuple[int, int] | None = field(default=None, init=False)

    @classmethod
    def of(
        cls,
        grid: Grid,
        folder: ResultsFolder,
        provenances: Mapping[str, Mapping[str, Any]],
        *,
        stop_when_solved: bool,
    ) -> Places:
        """Return the places of a grid; what is the same for many is worked out once."""
        configs = {config: str(config) for config in grid.rows}
        fingerprints = {p.task_id: problem_sha256(p) for p in grid.problems}
        places = []
        by_task: dict[str, list[Place]] = defaultdict(list)
        for position, unit in enumerate(grid):
            task = unit.problem.task_id
            config = configs[unit.config]
            number = len(by_task[task])
            places.append(Place(unit, config, fingerprints[task], position, number))
            by_task[task].append(places[-1])
        return cls(folder, places, by_task, provenances, stop_when_solved)

    def result(self, place: Place) -> Result | None:
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
        return None if record.result.unfinished else record.result

    def solved(self, place: Place) -> Result | None:
        """Return the result for which the units left of a task are skipped."""
        if not self.stop_when_solved:
            return None
        task = place.task_id
        if (solved := self.folder.solved(task)) is not None or task in self._unsolved:
            return solved
        # A process that was killed may have written a result, but not that it solves its task.
        read = map(self._read, self.by_task[task])
        passed = (each.result for each in read if each and each.result and each.result.passed)
        if (found := next(passed, None)) is None:
            self._unsolved.add(task)
        return found

    def task_claimed(self, task_id: str) -> None:
        """From now on nobody else writes results of a task: look at them once more."""
        self._unsolved.discard(task_id)

    def write(self, place: Place, result: Result) -> None:
        """Write a unit's result.

        Raises:
            RunError: the folder's results were made with other settings, or the file system
                refused.
        """
        self.check_folder()
        name = place.config, place.task_id, place.unit.gamma
        try:
            self.paths[place] = self.folder.write_with_provenance(
                *name, result, self.provenances[place.config], folders=1
            ).path
        except RunError:
            if result.record is not None:  # which tells of a result that there is not
                self.folder.record_path(*name).unlink(missing_ok=True)
            raise

    def record(self, place: Place, recorder: Recorder) -> str:
        """Write what was done for a unit beside its result; return the file's name.

        Raises:
            RunError: the file system refused.
        """
        self.check_folder()
        path = self.folder.record_path(place.config, place.task_id, place.unit.gamma)
        write_atomically(path, recorder.content(), folders=0)
        return path.name

    def claim_path(self, place: Place) -> Path:
        """Return the stem of a unit's claim files."""
        return self.folder.claim_path(place.config, place.task_id, place.unit.gamma)

    def note_plan(self) -> None:
        """Keep in the folder which units there are."""
        rows = dict.fromkeys((place.config, place.unit.gamma) for place in self.all)
        tasks = dict.fromkeys(place.task_id for place in self.all)
        self.folder.note_plan({"rows": list(rows), "tasks": list(tasks)})
        self._identity = _identity(self.folder.path)

    def check_folder(self) -> None:
        """See that what is written now goes where the run began: no folder is made in its place.

        Raises:
            RunError: it is gone, or cannot be reached.
        """
        if self._identity is not None and _identity(self.folder.path) != self._identity:
            raise RunError(
                f"{self.folder.path} is another folder than when the run began, as where a disk "
                f"was unmounted; {WHEN_IT_IS_BACK}"
            )

    def see_anew(self, place: Place) -> None:
        """Let this node find every result that decides whether a unit is to be solved.

        Raises:
            RunError: the file system refused.
        """
        folders = [self.folder.path / place.config]
        if self.stop_when_solved:
            others = {each.config for each in self.by_task[place.task_id]}
            folders = [self.folder.path / name for name in ("", SOLVED_NAME, *others)]
        for folder in folders:
            if folder.is_dir():
                see_anew(folder)

    def found(self) -> tuple[Path, ...]:
        """Return the result files that there are now, in the grid's order."""
        for place in self.all:
            if place not in self.paths:
                self._read(place)  # others may have done it since this process looked
        return tuple(self.paths[place] for place in self.all if place in self.paths)

    def _read(self, place: Place) -> ResultFile | None:
        """Look for a unit's result file."""
        record = self.folder.read(place.config, place.task_id, place.unit.gamma)
        if record is not None:
            self.paths[place] = record.path
        return record


def _identity(folder: Path) -> tuple[int, int]:
    try:
        found = folder.stat()
    except OSError as error:
        raise RunError(f"{folder} is lost: {error.strerror}; {WHEN_IT_IS_BACK}") from error
    return found.st_dev, found.st_ino
