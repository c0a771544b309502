"""Keys and values in numbered slots: one buffer per place where a model attends, and lane.

A forward pass writes its tokens' keys and values into their slots and attends to all slots in use
of their own lane; the attention mask says which of them belong to a token's own prefix. So nothing
is copied from one step to the next, and branches fork without copies. Keys carry their rotary
position already, so that a slot's place in the buffer means nothing.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

__all__ = ["PassCache", "SlotBuffers"]

GROWTH = 128
"""Free slots that a buffer gets at least on a device, or an eighth more."""

RESERVED = 2048
"""On the host a buffer has room for a multiple of this many slots: its pages take memory only once
they are written to, and all of it goes back to the system with the buffer. From the heap growing
buffers would leave gaps, as large as themselves."""


class SlotBuffers:
    """The keys and values of one lane, shape (1, heads, capacity, head size) each, per buffer.

    Attributes:
        bytes: memory of all buffers, free slots included as far as they take any.
    """

    def __init__(self) -> None:
        self._buffers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._held: dict[int, int] = {}  # slots that take memory, per buffer
        self.bytes = 0

    def write(
        self, number: int, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, used: int
    ) -> None:
        """Write tokens into their slots.

        Args:
            number: of the buffer.
            slots: where they go, shape (tokens,).
            keys: shape (1, heads, tokens, head size).
            values: the same, with a head size of their own.
            used: slots in use, these included.
        """
        buffers = self._buffers.get(number)
        if buffers is None or buffers[0].shape[2] < used:
            buffers = self._set(number, buffers or (keys[:, :, :0], values[:, :, :0]), used)
        elif used > self._held[number]:
            self._hold(number, used)
        slots = slots.to(keys.device)
        buffers[0].index_copy_(2, slots, keys)
        buffers[1].index_copy_(2, slots, values)

    def read(self, number: int, used: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the keys and values of the first `used` slots."""
        keys, values = self._buffers[number]
        return keys[:, :, :used], values[:, :, :used]

    def copy(self, source: SlotBuffers, slots: Sequence[int]) -> None:
        """Fill the first slots with those of another lane, in the order of `slots`."""
        index = torch.tensor(slots)
        for number, (keys, values) in source._buffers.items():
            index = index.to(keys.device)  # once where all layers are on one device
            chosen = keys.index_select(2, index), values.index_select(2, index)
            self._set(number, chosen, len(slots))

    def clear(self) -> None:
        """Give all memory back."""
        self._buffers, self._held, self.bytes = {}, {}, 0

    def trim(self, used: int) -> None:
        """Give memory back where the buffers hold more than twice the slots in `used`."""
        for number, buffers in list(self._buffers.items()):
            if self._held[number] > 2 * used + GROWTH:
                self._set(number, buffers, used)

    @property
    def slot_bytes(self) -> int:
        """Memory of one slot in all buffers; 0 while there is none."""
        return sum(map(_slot_bytes, self._buffers.values()))

    def _set(
        self, number: int, old: tuple[torch.Tensor, torch.Tensor], used: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Make buffers with room for the slots in `used`, and for more, which begin as `old`."""
        keys, values = (_with_room(buffer, used) for buffer in old)
        self._buffers[number] = (keys, values)
        self._hold(number, used if keys.device.type == "cpu" else keys.shape[2])
        return keys, values

    def _hold(self, number: int, slots: int) -> None:
        """Note that so many slots of a buffer take memory."""
        more = slots - self._held.get(number, 0)
        self.bytes += more * _slot_bytes(self._buffers[number])
        self._held[number] = slots


class _PassLayer(CacheLayerMixin):
    is_sliding = False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing is kept here."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new tokens' keys and values as they are."""
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1


class PassCache(Cache):
    """The cache that is handed to the model: it keeps nothing, which is up to the attention.

    Args:
        layers: how many layers the model has.
    """

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[_PassLayer() for _ in range(layers)])


def _slot_bytes(buffers: Sequence[torch.Tensor]) -> int:
    return sum(b.shape[1] * b.shape[3] * b.element_size() for b in buffers)


def _with_room(buffer: torch.Tensor, used: int) -> torch.Tensor:
    """Return a buffer with the same content and room for the slots in `used`, and for more."""
    # Zeros: a slot that is masked still takes part in the arithmetic, and 0 times NaN is NaN.
    _, heads, old, size = buffer.shape
    if buffer.device.type == "cpu":
        capacity = (used // RESERVED + 1) * RESERVED
        resized = _pages((1, heads, capacity, size), buffer.dtype)
    else:
        resized = buffer.new_zeros(1, heads, used + max(GROWTH, used // 8), size)
    kept = min(used, old)
    resized[:, :, :kept] = buffer[:, :, :kept]
    return resized


def _pages(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Return zeros in pages of their own, which take memory once they are written to.

    Raises:
        torch.OutOfMemoryError: there are no addresses left.
    """
    try:
        pages = mmap.mmap(-1, math.prod(shape) * dtype.itemsize, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise torch.OutOfMemoryError(f"cannot map memory: {error}") from error
    if hasattr(mmap, "MADV_NOHUGEPAGE"):  # one of 2 MiB would hold thousands of slots of a head
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(pages, dtype=dtype).view(*shape)
