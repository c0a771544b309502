"""The folder of what can be made again: models converted from other file formats."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import platformdirs
from attrs import frozen

__all__ = ["CACHE_VARIABLE", "ORIGIN", "CacheEntry", "cache_folder", "cached", "remove_leftovers"]

CACHE_VARIABLE = "EGCFG_CACHE_DIR"

ORIGIN = "egcfg_origin.json"
"""In an entry: the name of the file that it was made from, as ``{"file": ...}``."""


@frozen
class CacheEntry:
    """A folder of the cache.

    Attributes:
        folder: where it is.
        origin: name of the file that it was made from; empty: it does not say.
        size: bytes of all its files.
        made: when.
    """

    folder: Path
    origin: str
    size: int
    made: datetime

    def remove(self) -> None:
        """Delete it; whoever has its files open goes on with them.

        Raises:
            OSError: it cannot be deleted.
        """
        shutil.rmtree(self.folder)


def cache_folder() -> Path:
    """Return ``$EGCFG_CACHE_DIR``, or the user's cache folder for egcfg; it may not exist."""
    base = os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("egcfg")
    return Path(base).expanduser()


def cached() -> list[CacheEntry]:
    """Return what is in the cache, the newest first."""
    folders = [folder for kind in _folders(cache_folder()) for folder in _folders(kind)]
    whole = [folder for folder in folders if folder.suffix != ".unfinished"]
    return sorted(map(_entry, whole), key=lambda entry: entry.made, reverse=True)


def remove_leftovers() -> None:
    """Delete what processes left behind that were killed: unfinished folders, and their locks.

    What a live process holds the lock of stays.

    Raises:
        OSError: something cannot be deleted.
    """
    for kind in _folders(cache_folder()):
        for lock in kind.glob("*.lock"):
            with lock.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                if (unfinished := lock.with_suffix(".unfinished")).is_dir():
                    shutil.rmtree(unfinished)
                lock.unlink()


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []


def _entry(folder: Path) -> CacheEntry:
    try:
        origin = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))["file"]
    except (OSError, ValueError, LookupError, TypeError):
        origin = ""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return CacheEntry(
        folder, str(origin), size, datetime.fromtimestamp(folder.stat().st_mtime, UTC)
    )
