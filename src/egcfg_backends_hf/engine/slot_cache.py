"""Keys and values in numbered slots: one buffer per layer and lane.

A forward pass writes its tokens' keys and values into their slots and attends to all slots in use
of their own lane; the attention mask says which of them belong to a token's own prefix. So nothing
is copied from one step to the next, and branches fork without copies. Keys carry their rotary
position already, so that a slot's place in the buffer means nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from attrs import define, field
from transformers.cache_utils import Cache, CacheLayerMixin

__all__ = ["PassCache", "PassPart", "SlotBuffers", "running"]

GROWTH = 128
"""Slots are added by at least this many, or by an eighth."""


class SlotBuffers:
    """The keys and values of one lane, shape (1, heads, capacity, head size) each, per layer.

    Args:
        layers: how many layers the model has.

    Attributes:
        bytes: memory of all buffers, free slots included.
    """

    def __init__(self, layers: int) -> None:
        self._buffers: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * layers
        self.bytes = 0

    def write(
        self, layer: int, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, used: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write tokens into their slots and return everything up to the last slot in use.

        Args:
            layer: number of the layer.
            slots: where they go, shape (tokens,).
            keys: shape (1, heads, tokens, head size).
            values: the same.
            used: slots in use, these included.
        """
        buffers = self._buffers[layer]
        if buffers is None or buffers[0].shape[2] < used:
            buffers = self._grow(layer, keys, values, used)
        slots = slots.to(keys.device)
        buffers[0].index_copy_(2, slots, keys)
        buffers[1].index_copy_(2, slots, values)
        return buffers[0][:, :, :used], buffers[1][:, :, :used]

    def copy(self, source: SlotBuffers, slots: Sequence[int]) -> None:
        """Fill the first slots with those of another lane, in the order of `slots`."""
        index = torch.tensor(slots)
        for layer, buffers in enumerate(source._buffers):
            if buffers is not None:
                keys, values = (b.index_select(2, index.to(b.device)) for b in buffers)
                self._set(layer, keys, values)

    def clear(self) -> None:
        """Give all memory back."""
        self._buffers, self.bytes = [None] * len(self._buffers), 0

    def trim(self, used: int) -> None:
        """Give memory back where the buffers hold more than twice the slots in `used`."""
        for layer, buffers in enumerate(self._buffers):
            if buffers is not None and buffers[0].shape[2] > 2 * used + GROWTH:
                keys, values = (_with_capacity(b, used + GROWTH) for b in buffers)
                self._set(layer, keys, values)

    @property
    def slot_bytes(self) -> int:
        """Memory of one slot in all layers; 0 while there is none."""
        return sum(_bytes(pair) // pair[0].shape[2] for pair in self._buffers if pair)

    def _grow(
        self, layer: int, keys: torch.Tensor, values: torch.Tensor, used: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        old = self._buffers[layer] or (keys[:, :, :0], values[:, :, :0])
        capacity = old[0].shape[2]
        capacity = max(used, capacity + max(GROWTH, capacity // 8))
        return self._set(layer, *(_with_capacity(buffer, capacity) for buffer in old))

    def _set(
        self, layer: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.bytes += _bytes((keys, values)) - _bytes(self._buffers[layer] or ())
        self._buffers[layer] = (keys, values)
        return keys, values


@define(eq=False)
class PassPart:
    """The tokens of one lane in a pass.

    Attributes:
        rows: which tokens of the pass they are.
        slots: where they go, shape (tokens,).
        mask: which slots each of them attends to, shape (1, 1, tokens, used).
        buffers: the lane's.
        keys: of the layer that is being computed, shape (1, heads, used, head size).
        values: the same.
    """

    rows: slice
    slots: torch.Tensor
    mask: torch.Tensor
    buffers: SlotBuffers
    keys: torch.Tensor = field(init=False)
    values: torch.Tensor = field(init=False)


class _Running(threading.local):
    """The parts of the pass that this thread runs: a model hands its attention no cache."""

    parts: Sequence[PassPart] = ()


running = _Running()


class _PassLayer(CacheLayerMixin):
    is_sliding = False

    def __init__(self, number: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._number = number
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing is kept here."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new tokens into the slots of their lanes."""
        if torch.compiler.is_compiling():
            written: tuple[torch.Tensor, torch.Tensor] = torch.ops.egcfg.write_slots(
                key_states, value_states, self._number
            )
            return written
        _write(key_states, value_states, self._number)
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1


class PassCache(Cache):
    """The cache that is handed to the model: it passes keys and values on to their lanes.

    Args:
        layers: how many layers the model has.
    """

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[_PassLayer(number) for number in range(layers)])


def _write(keys: torch.Tensor, values: torch.Tensor, layer: int) -> None:
    for part in running.parts:
        part.keys, part.values = part.buffers.write(
            layer, part.slots, keys[:, :, part.rows], values[:, :, part.rows], part.mask.shape[3]
        )


@torch.library.custom_op(
    "egcfg::write_slots",
    mutates_args=(),
    schema="(Tensor keys, Tensor values, int layer) -> (Tensor, Tensor)",
)
def _compiled_write(
    keys: torch.Tensor, values: torch.Tensor, layer: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Write tokens into slots; what is returned makes attention wait for it.

    To a compiler it is one operator: lanes and slots change from pass to pass.
    """
    _write(keys, values, layer)
    return keys.clone(), values.clone()


@_compiled_write.register_fake
def _(keys: torch.Tensor, values: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ARG001
    return torch.empty_like(keys), torch.empty_like(values)


def _bytes(buffers: Sequence[torch.Tensor]) -> int:
    return sum(buffer.numel() * buffer.element_size() for buffer in buffers)


def _with_capacity(buffer: torch.Tensor, capacity: int) -> torch.Tensor:
    # Zeros: a slot that is masked still takes part in the arithmetic, and 0 times NaN is NaN.
    resized = buffer.new_zeros(*buffer.shape[:2], capacity, buffer.shape[3])
    kept = min(capacity, buffer.shape[2])
    resized[:, :, :kept] = buffer[:, :, :kept]
    return resized
