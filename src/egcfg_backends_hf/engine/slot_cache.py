"""Keys and values in numbered slots: one buffer per layer, which tokens of any branch share.

A forward pass writes its tokens' keys and values into their slots and attends to all slots in use;
the attention mask says which of them belong to a token's own prefix. So nothing is copied from one
step to the next, and branches fork without copies. Keys carry their rotary position already, so
that a slot's place in the buffer means nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

__all__ = ["SlotCache"]

GROWTH = 128
"""Slots are added by at least this many, or by an eighth."""


class _SlotLayer(CacheLayerMixin):
    """One layer's buffers, shape (1, heads, capacity, head size) each."""

    is_sliding = False

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._cache = cache
        self.buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.buffers = (_with_capacity(key_states, 0), _with_capacity(value_states, 0))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new tokens into their slots and return everything up to the last slot in use.

        Args:
            key_states: shape (1, heads, tokens, head size), one token per slot of this pass.
            value_states: the same.
        """
        if self.buffers is None:
            self.lazy_initialization(key_states, value_states)
        assert self.buffers is not None  # made just now at the latest
        used, capacity = self._cache.used, self.capacity
        if capacity < used:
            self.resize(max(used, capacity + max(GROWTH, capacity // 8)))
        keys, values = self.buffers
        slots = self._cache.slots.to(keys.device)
        keys.index_copy_(2, slots, key_states)
        values.index_copy_(2, slots, value_states)
        return keys[:, :, :used], values[:, :, :used]

    @property
    def capacity(self) -> int:
        """Slots that the buffers hold."""
        return 0 if self.buffers is None else self.buffers[0].shape[2]

    def resize(self, capacity: int) -> None:
        """Make room for, or cut back to, `capacity` slots."""
        if self.buffers is not None:
            keys, values = self.buffers
            self.buffers = (_with_capacity(keys, capacity), _with_capacity(values, capacity))

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:  # noqa: ARG002 - theirs
        return self._cache.used, 0

    def get_seq_length(self) -> int:
        return self._cache.used

    def get_max_length(self) -> int:
        return -1


class SlotCache(Cache):
    """The cache that is handed to the model.

    Args:
        layers: how many layers the model has.

    Attributes:
        slots: where the tokens of the next pass go, shape (tokens,).
        used: how many slots the next pass reads.
    """

    def __init__(self, layers: int) -> None:
        self._slot_layers = [_SlotLayer(self) for _ in range(layers)]
        super().__init__(layers=list(self._slot_layers))
        self.slots = torch.empty(0, dtype=torch.long)
        self.used = 0

    def trim(self, used: int) -> None:
        """Give memory back where the buffers hold more than twice the slots in `used`."""
        for layer in self._slot_layers:
            if layer.capacity > 2 * used + GROWTH:
                layer.resize(used + GROWTH)

    @property
    def bytes(self) -> int:
        """Memory of all buffers."""
        return sum(
            buffer.numel() * buffer.element_size()
            for layer in self._slot_layers
            for buffer in layer.buffers or ()
        )


def _with_capacity(buffer: torch.Tensor, capacity: int) -> torch.Tensor:
    # Zeros: a slot that is masked still takes part in the arithmetic, and 0 times NaN is NaN.
    resized = buffer.new_zeros(*buffer.shape[:2], capacity, buffer.shape[3])
    kept = min(capacity, buffer.shape[2])
    resized[:, :, :kept] = buffer[:, :, :kept]
    return resized
