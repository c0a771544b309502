"""What a process has used of its time, as the kernel of Linux counts it.

A machine with more work than cores lets programs wait. A program that waits for a core has not used
its limit of real time: that is meant for those that sleep, or wait for what never comes.
"""

from __future__ import annotations

import os
import sys
import time
from typing import NamedTuple

__all__ = ["STRETCH", "Waiting", "cpu_seconds", "waiting"]

STRETCH = 4
"""The most that an execution takes, in multiples of its limit of real time: however long it waits
for a core, and anywhere where the system does not tell how long it does."""


class Waiting(NamedTuple):
    """How a process has waited for a core, all of its threads together.

    Attributes:
        seconds: waits that are over.
        is_runnable: whether a thread runs or waits right now; such a wait is counted when it ends.
    """

    seconds: float
    is_runnable: bool


def cpu_seconds(pid: int) -> float:
    """Return the processor time of another process, 0 where the system does not tell."""
    if sys.platform != "linux" or not pid:
        return 0.0  # RLIMIT_CPU is left to count whole seconds
    try:
        # The kernel's number of a process's clock: inverted id, then 2 for "scheduler".
        return float(time.clock_gettime((~pid << 3) | 2))
    except OSError:
        return 0.0


def waiting(pid: int) -> Waiting | None:
    """Return how a process has waited; None where the system does not tell, or it is gone."""
    nanoseconds = turns = 0
    is_runnable = False
    try:
        tasks = os.open(f"/proc/{pid}/task", os.O_RDONLY)
        try:
            for thread in os.listdir(tasks):
                _, waited, times = _read(tasks, f"{thread}/schedstat").split()
                nanoseconds, turns = nanoseconds + int(waited), turns + int(times)
                # The name before it, in brackets, may hold anything.
                state = _read(tasks, f"{thread}/stat").rpartition(b")")[2].split()[0]
                is_runnable = is_runnable or state == b"R"
        finally:
            os.close(tasks)
    except (OSError, ValueError, IndexError):
        return None
    # Kernels that do not count show zeros.
    return Waiting(nanoseconds / 1e9, is_runnable) if turns else None


def _read(folder: int, name: str) -> bytes:
    descriptor = os.open(name, os.O_RDONLY, dir_fd=folder)
    try:
        return os.read(descriptor, 1000)
    finally:
        os.close(descriptor)
