"""Keys and values in numbered slots: one buffer per place where a model attends, and lane.

A forward pass writes its tokens' keys and values into their slots and attends to all slots in use
of their own lane; the attention mask says which of them belong to a token's own prefix. So nothing
is copied from one step to the next, and branches fork without copies. Keys carry their rotary
position already, so that a slot's place in the buffer means nothing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

__all__ = ["PassCache", "SlotBuffers"]

GROWTH = 128
"""Slots are added by at least this many, or by an eighth."""

_give_back: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""glibc's call; other libraries keep less of what is freed."""


class SlotBuffers:
    """The keys and values of one lane, shape (1, heads, capacity, head size) each, per buffer.

    Attributes:
        bytes: memory of all buffers, free slots included.
    """

    def __init__(self) -> None:
        self._buffers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
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
            buffers = self._grow(number, keys, values, used)
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
        for number, buffers in source._buffers.items():
            index = index.to(buffers[0].device)  # once where all layers are on one device
            keys, values = (b.index_select(2, index) for b in buffers)
            self._set(number, keys, values)

    def clear(self) -> None:
        """Give all memory back, to the system: glibc would keep hundreds of MiB for later."""
        on_host = any(keys.device.type == "cpu" for keys, _ in self._buffers.values())
        self._buffers, self.bytes = {}, 0
        if on_host and _give_back is not None:  # it takes milliseconds
            _give_back(0)

    def trim(self, used: int) -> None:
        """Give memory back where the buffers hold more than twice the slots in `used`."""
        for number, buffers in list(self._buffers.items()):
            if buffers[0].shape[2] > 2 * used + GROWTH:
                keys, values = (_with_capacity(b, used + GROWTH) for b in buffers)
                self._set(number, keys, values)

    @property
    def slot_bytes(self) -> int:
        """Memory of one slot in all buffers; 0 while there is none."""
        return sum(_bytes(pair) // pair[0].shape[2] for pair in self._buffers.values())

    def _grow(
        self, number: int, keys: torch.Tensor, values: torch.Tensor, used: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        old = self._buffers.get(number) or (keys[:, :, :0], values[:, :, :0])
        capacity = old[0].shape[2]
        capacity = max(used, capacity + max(GROWTH, capacity // 8))
        return self._set(number, *(_with_capacity(buffer, capacity) for buffer in old))

    def _set(
        self, number: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.bytes += _bytes((keys, values)) - _bytes(self._buffers.get(number, ()))
        self._buffers[number] = (keys, values)
        return keys, values


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


def _bytes(buffers: Sequence[torch.Tensor]) -> int:
    return sum(buffer.numel() * buffer.element_size() for buffer in buffers)


def _with_capacity(buffer: torch.Tensor, capacity: int) -> torch.Tensor:
    # Zeros: a slot that is masked still takes part in the arithmetic, and 0 times NaN is NaN.
    resized = buffer.new_zeros(*buffer.shape[:2], capacity, buffer.shape[3])
    kept = min(capacity, buffer.shape[2])
    resized[:, :, :kept] = buffer[:, :, :kept]
    return resized
