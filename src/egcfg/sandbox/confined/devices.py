"""Opens ``/dev/stdin`` and its like where there is no ``/proc``, to which the system's links lead.

Only a program whose text names them gets this: `open` and `os.open` are the interpreter's own
functions for all others.
"""

from __future__ import annotations

import builtins
import functools
import io
import os
import re
from typing import Any

__all__ = ["open_streams_by_path"]

STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
NUMBERED = re.compile(r"(?:/dev|/proc/self)/fd/(\d{1,9})")


def open_streams_by_path(source: str) -> None:
    """Let this process open its own streams by their paths, if a program's text names such a path.

    Args:
        source: the program.
    """
    if ("/dev/" in source or "/fd/" in source) and not os.path.exists("/proc/self/fd"):
        builtins.open = io.open = _for_open(io.open)
        os.open = _for_os_open(os.open)


def _descriptor(path: object) -> int | None:
    """Return the descriptor that a path names, if it names one."""
    if isinstance(path, int):
        return None
    try:
        text = os.fsdecode(path)  # type: ignore[arg-type]  # an error is open's to raise
    except TypeError:
        return None
    numbered = NUMBERED.fullmatch(text)
    return int(numbered[1]) if numbered else STREAMS.get(text)


def _for_open(plain: Any) -> Any:
    @functools.wraps(plain)
    def open(file: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A001 - it stands in for it
        number = _descriptor(file)
        if number is None:
            return plain(file, *args, **kwargs)
        return plain(file, *args, **kwargs, opener=lambda _path, _flags: os.dup(number))

    return open


def _for_os_open(plain: Any) -> Any:
    @functools.wraps(plain)
    def open(path: Any, *args: Any, **kwargs: Any) -> int:  # noqa: A001 - it stands in for it
        number = _descriptor(path)
        opened: int = plain(path, *args, **kwargs) if number is None else os.dup(number)
        return opened

    return open
