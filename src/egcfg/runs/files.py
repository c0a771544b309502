"""Files that other processes read and write at any moment, on whatever disk a cluster shares.

Of NFS no more is asked than it promises: a name is created by one node alone, a rename is whole,
and a file that is opened is as its last writer closed it. Locks are not used. What a node
remembers of other nodes' work (names that were absent, times) may be a minute old.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import time
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from egcfg.errors import RunError

__all__ = [
    "create_exclusively",
    "gzip_lines",
    "read_whole",
    "remove_leftovers",
    "see_anew",
    "write_atomically",
]

TEMPORARY = ".tmp-"
"""How the name of a file begins that is being written: hidden, so that no scan of its folder takes
it for a result."""
LEFT_S = 3600.0
"""Age from which on a file that is being written is one whose writer was killed."""

LARGEST_LINES = 256 << 20
"""Bytes of lines under gzip: a few kilobytes may say that they are more than fit in memory."""


def read_whole(path: Path) -> bytes:
    """Return a file's content: the old one or the new one where another node replaces it.

    Raises:
        FileNotFoundError: there is none, or another node has just removed it.
        OSError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
    # What the name stood for when it was looked up is gone from the server: look it up again.
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error


def see_anew(folder: Path) -> None:
    """Let this node find what others have put into a folder, which it may remember as absent.

    An NFS client keeps such memories until they are a minute old or it changes the folder itself.

    Raises:
        RunError: the file system refused.
    """
    changed = _write_beside(folder / "any", b"", durable=False, folders=0)
    changed.unlink(missing_ok=True)


def write_atomically(
    path: Path, data: bytes, *, durable: bool = True, folders: int | None = None
) -> None:
    """Replace `path` as a whole: readers see the old content or the new one, also after a crash.

    Args:
        path: the file.
        data: its new content.
        durable: whether it must be on the disk at return, so that a loss of power keeps it.
        folders: how many of the folders above it may be made, from the lowest up; None: all.
            Where a disk has gone away, others are missing, and are not made in its place.

    Raises:
        RunError: the file system refused; `path` is as it was.
    """
    temporary = _write_beside(path, data, durable=durable, folders=folders)
    try:
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _refused(path, error) from error


def remove_leftovers(folder: Path) -> None:
    """Remove what writers that were killed have left below a folder, where that is old enough."""
    for path, _, names in os.walk(folder):  # which passes over what is gone meanwhile
        for left in (Path(path, name) for name in names if name.startswith(TEMPORARY)):
            with contextlib.suppress(OSError):  # another process was quicker
                if time.time() - left.stat().st_mtime > LEFT_S:
                    left.unlink()


def create_exclusively(path: Path, data: bytes, *, folders: int | None = None) -> bool:
    """Create `path` with `data` unless it exists; return whether this process created it.

    Of any number of processes that try at once, exactly one creates it. Where the file system has
    hard links, no reader ever sees it half written.

    Args:
        path: the file.
        data: its content.
        folders: as for `write_atomically`.

    Raises:
        RunError: the file system refused for another reason.
    """
    temporary = _write_beside(path, data, folders=folders)
    try:
        os.link(temporary, path)
    except FileExistsError:
        # Where the server's answer was lost, the request is repeated, and finds what it had made.
        return _links(temporary) == 2
    except OSError:
        # No hard links here (exFAT, some network and object-store mounts).
        return _create_and_write(path, data)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def _links(path: Path) -> int:
    with path.open("rb") as file:  # opened, for what the server says now
        return os.fstat(file.fileno()).st_nlink


def _create_and_write(path: Path, data: bytes) -> bool:
    created = False
    try:
        with path.open("xb") as file:
            created = True
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    except OSError as error:
        if created:
            with contextlib.suppress(OSError):
                path.unlink()
        raise _refused(path, error) from error
    return True


def _write_beside(
    path: Path, data: bytes, *, durable: bool = True, folders: int | None = None
) -> Path:
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        if folders is None:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.parent.exists():
            for folder in reversed(path.parents[:folders]):
                folder.mkdir(exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise _refused(path, error) from error
    return temporary


def _sync_folder(folder: Path) -> None:
    # Some network file systems cannot sync a folder; the file itself is safe by then.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _refused(path: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot write {path}: {error.strerror or error}; make room, change its rights or "
        "choose another place, then run again"
    )


def gzip_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines under gzip, no more of them than fit in memory.

    Raises:
        OSError: it is no whole gzip data, or holds more than `LARGEST_LINES` bytes.
    """
    left = LARGEST_LINES
    try:
        with gzip.GzipFile(fileobj=file) as lines:
            while line := lines.readline(left + 1):
                left -= len(line)
                if left < 0:
                    raise OSError(f"it has more than {LARGEST_LINES >> 20} MiB")
                yield line
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise OSError(f"not whole gzip data: {error}") from error
