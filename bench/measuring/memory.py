"""Memory in use: allocated on the GPU, or resident in memory."""

from __future__ import annotations

from pathlib import Path

import torch

__all__ = ["MIB", "peak", "resident", "start_peak"]

MIB = 2**20


def resident() -> int:
    """Return the bytes in use."""
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated()
    return _status("VmRSS")


def start_peak() -> None:
    """Forget earlier peaks."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Return the most bytes in use since `start_peak`."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)
