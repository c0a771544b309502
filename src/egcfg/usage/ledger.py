"""What was spent on a results folder, one file per process that worked on it.

    <results_dir>/<dataset>/<model>/.spent/<host>-<pid>-<random>.json

A budget belongs to the folder of one model on one data set, not to one call of the program: several
processes share it without knowing of one another, and a job that is restarted again and again
cannot spend it again and again. Work that came to no result (a unit that was interrupted, or ended
by the budget) was paid for all the same, so it is noted here; the result files cannot tell. Each
process replaces its own file only, so nothing is lost and nothing counted twice.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from pathlib import Path

import attrs
import orjson
from attrs import define, field

from egcfg.errors import RunError
from egcfg.interfaces.usage import Usage
from egcfg.runs.files import read_whole, write_atomically
from egcfg.runs.result_file import MalformedResultError, load_usage

__all__ = ["FolderLedger"]

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_NOTES = 1.0
"""Where nobody waits for the numbers; more than this is not lost, however the process ends."""


def _own_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.json"


@define(eq=False)
class FolderLedger:
    """The ledger of one model on one data set, as this process keeps it.

    Attributes:
        folder: the folder of the files; made when something is noted.
    """

    folder: Path
    _name: str = field(factory=_own_name, init=False)
    _known: dict[str, tuple[tuple[int, int], Usage]] = field(factory=dict, init=False)
    _noted_at: float = field(default=0.0, init=False)

    def others(self) -> Usage:
        """Return what other processes spent, finished ones included.

        Raises:
            RunError: the folder cannot be read.
        """
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    if entry.name.endswith(".json") and entry.name != self._name:
                        self._look_at(entry)
        except FileNotFoundError:
            return Usage()
        except OSError as error:
            raise RunError(
                f"cannot read {self.folder}: {error.strerror}; check its rights"
            ) from error
        return sum((usage for _, usage in self._known.values()), Usage())

    def note(self, usage: Usage, *, at_once: bool) -> None:
        """Keep what this process spent so far.

        Raises:
            RunError: the file system refused.
        """
        now = time.monotonic()
        if not at_once and now - self._noted_at < SECONDS_BETWEEN_NOTES:
            return
        folders, self._noted_at = 0 if self._noted_at else None, now
        data = orjson.dumps(attrs.asdict(usage), option=orjson.OPT_INDENT_2)
        # The next note replaces it: a disk that loses power may lose the last moment.
        path = self.folder / self._name
        write_atomically(path, data, durable=False, folders=folders)

    def _look_at(self, entry: os.DirEntry[str]) -> None:
        """Read a file that is new or was replaced."""
        stat = entry.stat()
        version = (stat.st_ino, stat.st_mtime_ns)
        if entry.name in self._known and self._known[entry.name][0] == version:
            return
        try:
            usage = load_usage(orjson.loads(read_whole(Path(entry.path))), "it")
        except (orjson.JSONDecodeError, MalformedResultError) as error:
            logger.warning(
                "ignoring %s, which is no record of what was spent: %s", entry.path, error
            )
            usage = Usage()
        self._known[entry.name] = (version, usage)
