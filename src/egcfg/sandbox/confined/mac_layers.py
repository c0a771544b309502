"""The layers of macOS: those of every system, with memory watched from outside.

The kernel accepts a limit of the address space without enforcing it, so keepers look how much
memory their process has. Network, files and other processes are within a program's reach. This was
tried on an interpreter that pretends to run on macOS, never on a Mac.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

from .layers import PROBE_BYTES, Layers

__all__ = ["MacLayers"]

RUSAGE_INFO_V0 = 0
# Two words of a UUID, then ten numbers, the memory footprint the eighth of them.
RUSAGE_WORDS = 12
FOOTPRINT = 9


class MacLayers(Layers):
    """What macOS gives to ordinary users."""

    def enter_more(self, folder: str, scratch_root: str, packages: Sequence[str]) -> None:
        """Find out whether memory can be watched, where it cannot be limited."""
        super().enter_more(folder, scratch_root, packages)
        limited = self.has("memory limit")
        if not limited and self.attempt("memory limit", _probe_footprint):
            self.memory_used = _footprint


def _footprint(pid: int) -> int:
    """Return how many bytes of memory a process has.

    Raises:
        OSError: the system does not tell.
    """
    words = (ctypes.c_uint64 * RUSAGE_WORDS)()
    if ctypes.CDLL(None).proc_pid_rusage(pid, RUSAGE_INFO_V0, ctypes.byref(words)):
        raise OSError(f"the memory of process {pid} is not told")
    return int(words[FOOTPRINT])


def _probe_footprint() -> None:
    before = _footprint(os.getpid())
    block = b"\1" * PROBE_BYTES
    if _footprint(os.getpid()) - before < len(block) // 2:
        raise OSError("memory is neither limited nor told")
