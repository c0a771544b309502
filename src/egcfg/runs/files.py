"""Writing files that other processes read at any moment, on whatever disk a cluster shares; and
reading lines under gzip."""

from __future__ import annotations

import contextlib
import gzip
import os
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from egcfg.errors import RunError

__all__ = ["create_exclusively", "gzip_lines", "write_atomically"]

LARGEST_LINES = 256 << 20
"""Bytes of lines under gzip: a few kilobytes may say that they are more than fit in memory."""


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


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace `path` as a whole: readers see the old content or the new one, also after a crash.

    Args:
        path: the file.
        data: its new content.
        durable: whether it must be on the disk at return, so that a loss of power keeps it.

    Raises:
        RunError: the file system refused; `path` is as it was.
    """
    temporary = _write_beside(path, data, durable=durable)
    try:
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _refused(path, error) from error


def create_exclusively(path: Path, data: bytes) -> bool:
    """Create `path` with `data` unless it exists; return whether this process created it.

    Of any number of processes that try at once, exactly one creates it. Where the file system has
    hard links, no reader ever sees it half written.

    Raises:
        RunError: the file system refused for another reason.
    """
    temporary = _write_beside(path, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        # No hard links here (exFAT, some network and object-store mounts).
        return _create_and_write(path, data)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def _create_and_write(path: Path, data: bytes) -> bool:
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    except OSError as error:
        raise _refused(path, error) from error
    return True


def _write_beside(path: Path, data: bytes, *, durable: bool = True) -> Path:
    # Hidden, so that no scan of the folder takes it for a result.
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
        f"cannot write {path}: {error.strerror or error}; make room or change its rights, "
        "then run again: finished units are kept"
    )
