"""What is done to a process before the program's first line, and how its tree is ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import tempfile
import time
from typing import Any

__all__ = ["Scratch", "confine", "kill_orphans", "kill_tree", "make_scratch", "prepare_fork"]

OPEN_FILES = 64
PR_SET_CHILD_SUBREAPER = 36


class Scratch:
    """The folder that a program may write to; `temporary`: it must be removed by hand."""

    def __init__(self, path: str, temporary: bool) -> None:
        self.path = path
        self.temporary = temporary


def make_scratch(layers: Any, root: str, limits: dict[str, Any]) -> Scratch:
    return Scratch(tempfile.mkdtemp(prefix="run-", dir=root), temporary=True)


def prepare_fork(layers: Any) -> None:
    """Have orphans of the program come to this process, so that none escapes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def confine(layers: Any, scratch: Scratch, limits: dict[str, Any], kept: set[int]) -> None:
    """Lock this process in: descriptors, folder, limits."""
    _close_others(kept)
    os.chdir(scratch.path)
    os.environ["TMPDIR"] = scratch.path
    tempfile.tempdir = None
    set_limits(limits)


def _close_others(kept: set[int]) -> None:
    low = 0
    for descriptor in sorted(kept):
        if low < descriptor:  # closerange(0, 0) closes everything
            os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, max(os.sysconf("SC_OPEN_MAX"), 65536))


def set_limits(limits: dict[str, Any]) -> None:
    """Set the kernel's limits, soft and hard, so that the program cannot raise them again."""
    cpu = int(limits["cpu_seconds"]) + 2
    for name, value in (
        ("RLIMIT_CPU", cpu),
        ("RLIMIT_AS", limits["memory_bytes"]),
        ("RLIMIT_FSIZE", limits["file_bytes"]),
        ("RLIMIT_NOFILE", OPEN_FILES),
        ("RLIMIT_CORE", 0),
    ):
        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(number, (value, value))


def kill_tree(pid: int) -> None:
    """Kill a process (not yet waited for) and its process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_orphans() -> None:
    """Kill and reap whatever else became this process's child, until nothing is left."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            for child in _children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            time.sleep(0.001)


def _children() -> list[int]:
    own = os.getpid()
    try:
        with open(f"/proc/{own}/task/{own}/children") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return []
