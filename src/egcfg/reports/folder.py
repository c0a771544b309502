"""Reads a results folder again and again; what has not changed is not read again.

A results file is replaced as a whole by its writer, which changes its folder's time: only folders
whose time has changed are listed anew, and only files that are new or were replaced are read. Files
without a verdict are looked at each time, since an older tool fills its reservations in place.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field, frozen

from egcfg.errors import RunError
from egcfg.reports.rows import LeftOut, ResultRow, Results, RowState
from egcfg.runs.store import SOLVED_NAME, is_result_name, read_result_file, usefulness

__all__ = ["FolderReader", "load_results"]

SETTLED_NS = 2_000_000_000
"""Age from which on a folder's time tells of every change: clocks of file systems are coarse."""
PREFIX = "task_id="
OTHER_SPELLING = "the same unit as another file"


def load_results(folder: str | os.PathLike[str]) -> Results:
    """Return every result below a folder: a whole results folder or any part of one.

    Args:
        folder: the folder.

    Raises:
        RunError: it does not exist, holds no result file, or cannot be read.
    """
    return FolderReader(Path(folder)).look()


@frozen
class _Seen:
    """A result file as it was read; of several files of a unit, `worth` tells the best."""

    version: tuple[int, int, int]
    row: ResultRow
    worth: int


@define(eq=False)
class _Listing:
    """A folder as it was last seen.

    Attributes:
        changed: its time then, in nanoseconds; 0: it was too young to tell of every change.
        folders: those in it.
        files: its result files by name.
        left_out: what looks like a result file and is none.
        rows: one per unit.
    """

    changed: int = 0
    folders: list[str] = field(factory=list)
    files: dict[str, _Seen] = field(factory=dict)
    left_out: list[LeftOut] = field(factory=list)
    rows: list[ResultRow] = field(factory=list)


@define(eq=False)
class FolderReader:
    """Reads what is below one folder.

    Attributes:
        folder: the folder.
        files_read: how many files were read so far.
    """

    folder: Path
    files_read: int = field(default=0, init=False)
    _listings: dict[str, _Listing] = field(factory=dict, init=False)

    def look(self) -> Results:
        """Return every result that there is now.

        Raises:
            RunError: there is no folder, no result file, or one of them cannot be read.
        """
        if not self.folder.is_dir():
            raise RunError(
                f"there is no folder {self.folder}; give the --results-dir of a run, or a part"
            )
        # Absolute, so that the folders' names are known even for the path ".".
        found = dict(self._walk(os.path.abspath(self.folder)))
        self._listings = found
        rows = [row for path in sorted(found) for row in found[path].rows]
        left_out = [each for path in sorted(found) for each in found[path].left_out]
        if not rows:
            raise RunError(f"{self.folder} holds no result files (task_id=....json)")
        return Results(rows, left_out)

    def _walk(self, path: str) -> Iterator[tuple[str, _Listing]]:
        try:
            listing = self._listing(path)
        except FileNotFoundError:
            return  # removed meanwhile
        except OSError as error:
            raise RunError(f"cannot read {path}: {error.strerror}; check its rights") from error
        yield path, listing
        for name in listing.folders:
            yield from self._walk(os.path.join(path, name))

    def _listing(self, path: str) -> _Listing:
        known = self._listings.get(path)
        changed = os.stat(path).st_mtime_ns
        if known is not None and known.changed == changed:
            waiting = [
                name
                for name, seen in known.files.items()
                if seen.row.state in (RowState.EMPTY, RowState.BROKEN)
            ]
            if not waiting:
                return known
            listing, names = known, waiting
        else:
            settled = time.time_ns() - changed > SETTLED_NS
            listing, names = _Listing(changed if settled else 0), []
            with os.scandir(path) as entries:
                for entry in entries:
                    self._sort(entry, path, listing, names)
        before = {} if known is None else known.files
        for name in names:
            self._read(path, name, before.get(name), listing)
        _choose(path, listing)
        return listing

    def _sort(
        self, entry: os.DirEntry[str], path: str, listing: _Listing, names: list[str]
    ) -> None:
        """Note what is in a folder."""
        name = entry.name
        if name.startswith("."):
            return
        if entry.is_dir(follow_symlinks=False):
            if name != SOLVED_NAME:
                listing.folders.append(name)
        elif is_result_name(name):
            names.append(name)
        elif name.startswith(PREFIX) and name.endswith(".json"):
            listing.left_out.append(LeftOut(path=f"{path}/{name}", why="no number after _gamma="))

    def _read(self, path: str, name: str, before: _Seen | None, listing: _Listing) -> None:
        full = os.path.join(path, name)
        try:
            stat = os.stat(full)
        except FileNotFoundError:
            listing.files.pop(name, None)
            return
        version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if before is not None and before.version == version:
            listing.files[name] = before
            return
        self.files_read += 1
        record = read_result_file(Path(full))
        listing.files[name] = _Seen(version, ResultRow.of(record), usefulness(record))


def _choose(path: str, listing: _Listing) -> None:
    """Take one row per unit: older tools spelt gammas and task ids in several ways."""
    best: dict[tuple[str, float | None], tuple[int, str]] = {}
    left_out = [each for each in listing.left_out if each.why != OTHER_SPELLING]
    for name in sorted(listing.files):
        seen = listing.files[name]
        key = (seen.row.task_id, seen.row.gamma)
        rival = best.get(key)
        if rival is not None:
            loser = name if rival[0] <= seen.worth else rival[1]
            left_out.append(LeftOut(path=f"{path}/{loser}", why=OTHER_SPELLING))
        if rival is None or seen.worth < rival[0]:
            best[key] = (seen.worth, name)
    listing.left_out = left_out
    listing.rows = [listing.files[name].row for _, name in best.values()]
