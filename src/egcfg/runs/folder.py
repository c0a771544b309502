"""Reads a results folder, also again and again; what has not changed is not read again.

A results file is replaced as a whole by its writer, which changes its folder's time: only folders
whose time has changed are listed anew, and only files that are new or were replaced are read. Files
without a verdict are looked at each time, since an older tool fills its reservations in place.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from attrs import define, field, frozen

from egcfg.errors import RunError
from egcfg.runs.store import (
    SOLVED_NAME,
    FileState,
    ResultFile,
    is_result_name,
    read_result_file,
    usefulness,
)

__all__ = ["FolderReader", "Found", "LeftOut", "read_folder", "scan"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

SETTLED_NS = 2_000_000_000
"""Age from which on a folder's time tells of every change: clocks of file systems are coarse."""
PREFIX = "task_id="


@frozen(kw_only=True)
class LeftOut:
    """A file that is no result, or a folder that cannot be listed.

    Attributes:
        path: the file.
        why: the reason.
    """

    path: str
    why: str


@frozen
class Found(Generic[T]):
    """What a folder holds.

    Attributes:
        kept: of each unit, in the order of the files, what is kept of its result.
        left_out: files that look like results and are none.
    """

    kept: list[T]
    left_out: list[LeftOut]


def scan(folder: Path) -> list[ResultFile]:
    """Return the result of every unit below `folder`, with all texts, as `read_folder` does."""
    return read_folder(folder, lambda file: file)


def read_folder(folder: Path, of: Callable[[ResultFile], T]) -> list[T]:
    """Return of every unit below `folder` what `of` keeps of its result; log what is left out.

    Raises:
        RunError: `folder` does not exist or holds no result file.
    """
    found = FolderReader(folder, of).look()
    if found.left_out:
        first = found.left_out[0]
        logger.warning(
            "%d files left out, as egcfg monitor tells; first: %s (%s)",
            *(len(found.left_out), first.path, first.why),
        )
    return found.kept


@frozen
class _Seen(Generic[T]):
    """A result file as it was read; of several files of a unit, `worth` tells the best."""

    version: tuple[int, int, int]
    unit: tuple[str, float | None]
    worth: int
    settled: bool
    kept: T


@define(eq=False)
class _Listing(Generic[T]):
    """A folder as it was last seen.

    Attributes:
        changed: its time then, in nanoseconds; 0: it was too young to tell of every change.
        folders: those in it.
        files: its result files by name.
        unfit: names of what looks like a result file and is none, or cannot be read; and why.
        found: one result per unit.
    """

    changed: int = 0
    folders: list[str] = field(factory=list)
    files: dict[str, _Seen[T]] = field(factory=dict)
    unfit: dict[str, str] = field(factory=dict)
    found: Found[T] = field(factory=lambda: Found([], []))


@define(eq=False)
class FolderReader(Generic[T]):
    """Reads what is below one folder: a whole results folder or any part of one.

    Attributes:
        folder: the folder.
        of: returns what to keep of a result.
        on_read: is told how many files were read so far.
        files_read: how many that are.
    """

    folder: Path
    of: Callable[[ResultFile], T]
    on_read: Callable[[int], None] = lambda _: None
    files_read: int = field(default=0, init=False)
    _listings: dict[str, _Listing[T]] = field(factory=dict, init=False)

    def look(self) -> Found[T]:
        """Return every result that there is now; of several files of a unit, the best.

        Others may write to the folder meanwhile: what is there when its turn comes is read.

        Raises:
            RunError: there is no folder, or no result file in it.
        """
        if not self.folder.is_dir():
            raise RunError(
                f"there is no folder {self.folder}; give the --results-dir of a run, or a part"
            )
        # Absolute, so that the folders' names are known even for the path ".".
        self._listings = dict(self._walk(os.path.abspath(self.folder)))
        parts = [self._listings[path].found for path in sorted(self._listings)]
        found = Found(
            [each for part in parts for each in part.kept],
            [each for part in parts for each in part.left_out],
        )
        if not found.kept:
            why = "".join(f"; {each.path}: {each.why}" for each in found.left_out[:1])
            raise RunError(f"{self.folder} holds no result files (task_id=....json){why}")
        return found

    def _walk(self, path: str) -> Iterator[tuple[str, _Listing[T]]]:
        try:
            listing = self._listing(path)
        except FileNotFoundError:
            return  # removed meanwhile
        except OSError as error:
            why = f"cannot be listed: {error.strerror}"
            listing = _Listing(found=Found([], [LeftOut(path=path, why=why)]))
        yield path, listing
        for name in listing.folders:
            yield from self._walk(os.path.join(path, name))

    def _listing(self, path: str) -> _Listing[T]:
        known = self._listings.get(path)
        changed = os.stat(path).st_mtime_ns
        if known is not None and known.changed == changed:
            waiting = [name for name, seen in known.files.items() if not seen.settled]
            waiting += filter(is_result_name, known.unfit)
            if not waiting:
                return known
            listing, names = known, waiting
        else:
            settled = time.time_ns() - changed > SETTLED_NS
            listing, names = _Listing(changed if settled else 0), []
            with os.scandir(path) as entries:
                for entry in entries:
                    _sort(entry, listing, names)
        before = {} if known is None else known.files
        for name in names:
            self._read(path, name, before.get(name), listing)
        listing.found = _chosen(path, listing)
        return listing

    def _read(self, path: str, name: str, before: _Seen[T] | None, listing: _Listing[T]) -> None:
        full = os.path.join(path, name)
        listing.files.pop(name, None)
        listing.unfit.pop(name, None)
        try:
            stat = os.stat(full)
            version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if before is None or before.version != version:
                self.files_read += 1
                self.on_read(self.files_read)
                file = read_result_file(Path(full))
                unit, settled = (file.task_id, file.gamma), file.state is FileState.DONE
                before = _Seen(version, unit, usefulness(file), settled, self.of(file))
        except (OSError, RunError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
                listing.unfit[name] = f"cannot be read: {cause.strerror}"
            return
        listing.files[name] = before


def _sort(entry: os.DirEntry[str], listing: _Listing[T], names: list[str]) -> None:
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
        listing.unfit[name] = "no number after _gamma="


def _chosen(path: str, listing: _Listing[T]) -> Found[T]:
    """Take one file per unit: older tools spelt gammas and task ids in several ways."""
    best: dict[tuple[str, float | None], str] = {}
    unfit = dict(listing.unfit)
    for name in sorted(listing.files, key=lambda name: (listing.files[name].worth, name)):
        if best.setdefault(listing.files[name].unit, name) != name:
            unfit[name] = "the same unit as another file"
    return Found(
        [listing.files[name].kept for name in sorted(best.values())],
        [LeftOut(path=f"{path}/{name}", why=why) for name, why in sorted(unfit.items())],
    )
