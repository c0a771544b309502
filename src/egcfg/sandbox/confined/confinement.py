"""What is done to a process before the program's first line, and how it is ended."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
from typing import Protocol

from .layers import Layers

__all__ = ["Scratch", "confine", "end_process", "make_scratch"]

OPEN_FILES = 64
PROCESSES = 64
# The scratch folder holds a few files of the largest size.
SCRATCH_FILES = 4


class Limits(Protocol):
    """What a process may use, as far as the kernel counts it.

    Attributes:
        cpu_seconds: processor time.
        memory_bytes: address space.
        file_bytes: size of any file it writes.
    """

    cpu_seconds: float
    memory_bytes: int
    file_bytes: int


class Scratch:
    """The folder that a program may write to.

    Attributes:
        path: as the program sees it.
        temporary: whether it must be removed by hand, because it is no mount of its own.
    """

    def __init__(self, path: str, *, temporary: bool) -> None:
        self.path = path
        self.temporary = temporary

    def remove(self) -> None:
        """Remove the folder, where it is no mount that ends with its processes."""
        if not self.temporary:
            return
        # A folder that the program has locked cannot be emptied by an ordinary user.
        with contextlib.suppress(OSError):
            os.chmod(self.path, 0o700)
            for folder, names, _ in os.walk(self.path):
                for path in (os.path.join(folder, name) for name in names):
                    if not os.path.islink(path):
                        os.chmod(path, 0o700)
        shutil.rmtree(self.path, ignore_errors=True)


def make_scratch(layers: Layers) -> Scratch:
    """Return a program's scratch folder; it is made here where it is no mount.

    Args:
        layers: what works here.
    """
    if layers.scratch is not None:
        return Scratch(layers.scratch, temporary=False)
    return Scratch(tempfile.mkdtemp(prefix="run-", dir=layers.scratch_root), temporary=True)


def confine(layers: Layers, scratch: Scratch, limits: Limits, kept: set[int]) -> None:
    """Lock this process in, for good.

    Args:
        layers: what works here; each must work now as well.
        scratch: the program's folder.
        limits: what this process may use.
        kept: the descriptors that stay open.

    Raises:
        OSError: a layer fails.
    """
    layers.separate(SCRATCH_FILES * limits.file_bytes)
    os.chdir(scratch.path)
    os.environ["HOME"] = os.environ["TMPDIR"] = scratch.path
    tempfile.tempdir = None
    _set_limits(layers, limits)
    layers.lock(scratch.path)
    _close_others(kept)
    layers.filter_calls()


def _close_others(kept: set[int]) -> None:
    """Close every descriptor of this process but those in `kept`."""
    low = 0
    for descriptor in sorted(kept):
        if low < descriptor:  # closerange(0, 0) closes everything
            os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, max(os.sysconf("SC_OPEN_MAX"), 1 << 16))


def _set_limits(layers: Layers, limits: Limits) -> None:
    """Set the kernel's limits, soft and hard, so that the program cannot raise them again."""
    values: dict[int, int] = {}
    if layers.has("rlimits"):
        values |= {
            # The parent counts fractions; this is for what it cannot see, and hard because the
            # first process of a pid namespace ignores the soft limit's signal.
            resource.RLIMIT_CPU: int(limits.cpu_seconds) + 2,
            resource.RLIMIT_FSIZE: limits.file_bytes,
            resource.RLIMIT_NOFILE: OPEN_FILES,
            resource.RLIMIT_CORE: 0,
        }
        if layers.has("pid namespace"):
            # Counted by user and user namespace: without an own one, the user's other work counts.
            values[resource.RLIMIT_NPROC] = PROCESSES
        elif sys.platform == "darwin":
            # Where threads do not count, and nothing else keeps children from getting away.
            values[resource.RLIMIT_NPROC] = 0
    if layers.has("memory limit"):
        values[resource.RLIMIT_AS] = limits.memory_bytes
    for number, value in values.items():
        _, hard = resource.getrlimit(number)
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (limit, limit))


def end_process(pid: int) -> tuple[int, resource.struct_rusage]:
    """Kill a child of this process that was not waited for yet; return its wait status and usage.

    Its process group ends with it, and all others in a pid namespace of which it is the first.
    """
    # Before it is waited for, its number still names it and its process group.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return status, usage
