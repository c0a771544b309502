"""Tells running out of memory from other failures of torch."""

from __future__ import annotations

import torch

__all__ = ["is_out_of_memory"]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch failed for lack of memory, on an accelerator or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        # The CPU's allocator has no exception class of its own.
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
