"""Lets go of the pages of a mapped file once the weights in them have been read.

transformers maps a model's files where their numbers are of the type that is asked for. A layer
that is packed has its own copy then; what it was read from would stay in memory beside it, as it
would after the first pass of a model that is tried before it is packed. Pages that are let go cost
nothing until they are read again, mostly from the kernel's own cache of files.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

__all__ = ["releasing_pages"]

MAPPINGS = Path("/proc/self/smaps")
"""Of this process (Linux): a line ``start-end rights offset device inode path`` for each, and then
what is in memory of it, of which ``Anonymous`` is no copy of the file."""


@contextmanager
def releasing_pages(model: nn.Module) -> Iterator[Callable[[nn.Module], None]]:
    """Release what each of a model's layers has read of mapped files as soon as it has run.

    Yields:
        Releases what a module's own weights lie in. It does nothing where no file is mapped, or on
        other systems than Linux.
    """
    mapped = _mapped(model)
    libc = ctypes.CDLL(None)

    def release(module: nn.Module) -> None:
        for weight in module.parameters():
            place = weight.data_ptr()
            if any(start <= place < end for start, end in mapped):
                start = place - place % mmap.PAGESIZE
                length = ctypes.c_size_t(place + weight.nbytes - start)
                libc.madvise(ctypes.c_void_p(start), length, mmap.MADV_DONTNEED)

    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    layers = dict.fromkeys(layer for each in lists for layer in each) if mapped else {}
    hooks = [layer.register_forward_hook(lambda layer, *_: release(layer)) for layer in layers]
    try:
        yield release
    finally:
        for hook in hooks:
            hook.remove()
        release(model)


def _mapped(model: nn.Module) -> list[tuple[int, int]]:
    """Return where files are mapped that parameters lie in, and that nothing was written to.

    What a process wrote to its private copy of a page would be lost with it.
    """
    if not MAPPINGS.exists():
        return []
    places = sorted(p.data_ptr() for p in model.parameters() if p.device.type == "cpu")
    found: list[tuple[int, int]] = []
    here = False
    for line in MAPPINGS.read_text().splitlines():
        name, *values = line.split(maxsplit=5)
        if not name.endswith(":"):
            start, end = (int(place, 16) for place in name.split("-"))
            is_file = int(values[3]) > 0
            here = is_file and any(start <= place < end for place in places)
            if here:
                found.append((start, end))
        elif here and name == "Anonymous:" and int(values[0]) > 0:
            found.pop()
            here = False
    return found
