"""Attention for token trees: each token attends to the slots of its own prefix, in its own lane.

A model's attention calls arrive here with the keys and values of the pass, which go into the slots
of their lanes first. Which slots a token attends to is its ancestry in the tree and, where the
model masks further (sliding windows, chunks), its own function of two positions. Grouped heads are
not repeated, whatever the kernel.

To a compiler all of it is one operator: how many lanes there are, and how many slots each has,
changes from pass to pass, and must not be compiled in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType
from typing import Any, TypeAlias

import torch
from attrs import define, frozen
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import causal_mask_function, sliding_window_causal_mask_function

from egcfg_backends_hf.engine.slot_cache import SlotBuffers

__all__ = [
    "TREE_ATTENTION",
    "Bias",
    "MaskFunction",
    "PassPart",
    "Recording",
    "UnknownAttentionError",
    "masks_by_kind",
    "running",
    "tree_attention",
]

TREE_ATTENTION = "egcfg_tree"
"""The name that a model's `set_attn_implementation` takes."""

BLOCK = 256
"""Tokens whose attention is computed at once, on the CPU."""

KNOW_GROUPS = ("cpu",)
"""Devices whose fused kernel takes grouped heads together with a mask."""

KNOWN = ("dropout", "is_causal", "position_ids", "use_cache", "output_", "return_")
"""Beginnings of arguments that change nothing here, or that are taken into account."""

MaskFunction: TypeAlias = Callable[[Any, Any, Any, Any], Any]
"""As transformers' masks are: from batch, head, query position and key position to whether that
one may attend to this one."""

Bias: TypeAlias = Callable[[torch.Tensor, int], torch.Tensor]
"""From the positions of keys, shape (used,), and a number above them all to what is added to the
scores of keys, shape (heads, used)."""


class UnknownAttentionError(Exception):
    """A model attends in a way that is not known here; the message says how."""


@frozen
class Site:
    """A place where a model attends.

    Attributes:
        buffer: number of its keys and values.
        writes: whether the keys and values of the pass are new there; else another place, which
            shares them, has written them.
        mask: number of its mask's kind.
    """

    buffer: int
    writes: bool
    mask: int


class Recording:
    """What a pass found out about the places where a model attends.

    Attributes:
        masks: the function of each kind of mask.
        buffers: how many keys and values there are to keep.
    """

    def __init__(self) -> None:
        self.masks: list[MaskFunction] = []
        self.buffers = 0
        self._kinds: dict[object, int] = {}
        self._stand_ins: list[tuple[torch.Tensor, int]] = []
        self._kept: list[tuple[torch.Tensor, torch.Tensor, int]] = []
        self._sites: dict[torch.nn.Module, list[Site]] = {}

    def stand_in(self, function: MaskFunction, device: torch.device) -> torch.Tensor:
        """Return a mask that is known again where it is attended with."""
        mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)
        self._stand_ins.append((mask, self._kind(function)))
        return mask

    def note(
        self,
        module: torch.nn.Module,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        window: int | None,
    ) -> None:
        """Note a place where a module attends.

        Args:
            module: the layer.
            key: what it attends to, with `value`; another place may have the very same.
            value: likewise.
            mask: a stand-in; None: the causal mask.
            window: how many tokens back it attends to, where there is no mask; None: to all.

        Raises:
            UnknownAttentionError: it attends with a mask that it was not given.
        """
        kind = self._kind_of(mask, window)
        same = (n for keys, values, n in self._kept if keys is key and values is value)
        shared = next(same, None)
        buffer = self.buffers if shared is None else shared
        self.buffers += shared is None
        self._kept.append((key, value, buffer))
        self._sites.setdefault(module, []).append(Site(buffer, shared is None, kind))

    def finish(self) -> None:
        """Let each module know its places from here on.

        Raises:
            UnknownAttentionError: the model did not call its attention at all.
        """
        if not self._sites:
            raise UnknownAttentionError("it computes attention in a way of its own")
        for module, sites in self._sites.items():
            module.tree_sites = tuple(sites)  # type: ignore[assignment]  # no part of the model

    def _kind(self, function: MaskFunction) -> int:
        kind = self._kinds.setdefault(_signature(function), len(self.masks))
        if kind == len(self.masks):
            self.masks.append(function)
        return kind

    def _kind_of(self, mask: torch.Tensor | None, window: int | None) -> int:
        if mask is None:
            if window is None:
                return self._kind(causal_mask_function)
            return self._kind(sliding_window_causal_mask_function(window))
        address = mask.untyped_storage().data_ptr()  # of its views as well
        for stand_in, kind in self._stand_ins:
            if stand_in.untyped_storage().data_ptr() == address:
                return kind
        raise UnknownAttentionError("it makes attention masks in a way of its own")


@define(eq=False)
class PassPart:
    """The tokens of one lane in a pass.

    Attributes:
        rows: which tokens of the pass they are.
        slots: where they go, shape (tokens,).
        masks: per kind, which slots each of them attends to; shape (1, 1, tokens, used).
        positions: of the token in each slot, shape (used,).
        length: above all of them.
        buffers: the lane's.
    """

    rows: slice
    slots: torch.Tensor
    masks: Sequence[torch.Tensor]
    positions: torch.Tensor
    length: int
    buffers: SlotBuffers


class _Running(threading.local):
    """The parts of the pass that this thread runs: a model hands its attention none of them."""

    parts: Sequence[PassPart] = ()
    recording: Recording | None = None

    def __init__(self) -> None:
        self.calls: dict[torch.nn.Module, int] = {}  # of modules that attend more than once


running = _Running()


def masks_by_kind(
    functions: Sequence[MaskFunction],
    visible: torch.Tensor,
    queries: torch.Tensor,
    keys: torch.Tensor,
) -> list[torch.Tensor]:
    """Return the mask of each kind, shape (1, 1, tokens, used).

    Args:
        functions: of each kind.
        visible: which slots are of a token's ancestors or its own, shape (tokens, used).
        queries: positions of the tokens, shape (tokens,).
        keys: positions of the tokens in the slots, shape (used,).
    """
    masks = []
    for function in functions:
        allowed = visible
        if function is not causal_mask_function:  # ancestors come before: nothing else is asked
            allowed = visible & function(0, 0, queries[:, None], keys[None, :])
        masks.append(allowed[None, None])
    return masks


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    *,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    bias: Bias | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention's output, shape (1, tokens, heads, head size of the values).

    Args:
        module: the layer that asks.
        query: shape (1, heads, tokens, head size).
        key: shape (1, key heads, tokens, head size), of this pass.
        value: the same, with a head size of their own.
        attention_mask: of use while the model is recorded only; each lane has its own.
        scaling: of the scores before their softmax; None: 1 / sqrt(head size).
        sliding_window: likewise, where there is no mask.
        softcap: c in c tanh(scores / c), which replaces the scores (Gemma 2); None: nothing does.
        s_aux: attention sinks, shape (heads,): scores of nothing, which take their part of the
            softmax (GPT-OSS).
        bias: what is added to the scores (ALiBi).
        more: what else a model may pass on.

    Raises:
        UnknownAttentionError: `more` contains what is not known here.
    """
    unknown = [n for n, value in more.items() if value is not None and not n.startswith(KNOWN)]
    if unknown:
        raise UnknownAttentionError(f"its attention asks for {', '.join(unknown)}")
    if running.recording is not None:
        running.recording.note(module, key, value, attention_mask, sliding_window)
        return query.new_zeros(1, query.shape[2], query.shape[1], value.shape[3]), None
    sites: Sequence[Site] = module.tree_sites  # type: ignore[assignment]
    number = 0
    if len(sites) > 1:
        number = running.calls.get(module, 0)
        running.calls[module] = (number + 1) % len(sites)
    site = sites[number]
    if torch.compiler.is_compiling() and bias is None:
        output: torch.Tensor = torch.ops.egcfg.tree_attention(
            query, key, value, site.buffer, site.writes, site.mask, scaling, softcap, s_aux
        )
        return output, None
    return _attend(query, key, value, site, scaling, softcap, s_aux, bias), None


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    site: Site,
    scaling: float | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
    bias: Bias | None,
) -> torch.Tensor:
    scaling = query.shape[3] ** -0.5 if scaling is None else scaling
    outputs = []
    for part in running.parts:
        used = len(part.positions)
        if site.writes:
            rows = part.rows
            part.buffers.write(site.buffer, part.slots, key[:, :, rows], value[:, :, rows], used)
        keys, values = part.buffers.read(site.buffer, used)
        added = None if bias is None else bias(part.positions.to(keys.device), part.length)
        mask = part.masks[site.mask].to(keys.device)  # a model's layers may be on several devices
        for block, last in _blocks(mask):
            attend = _fused if softcap is None and sinks is None else _explicit
            output = attend(
                query[:, :, part.rows][:, :, block],
                keys[:, :, :last],
                values[:, :, :last],
                mask[:, :, block, :last],
                scaling,
                softcap,
                sinks,
                None if added is None else added[:, :last],
            )
            outputs.append(output.transpose(1, 2))
    return (outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)).contiguous()


def _blocks(mask: torch.Tensor) -> Iterator[tuple[slice, int | None]]:
    """Yield blocks of tokens, and how many slots the tokens of each attend to at most."""
    tokens = mask.shape[2]
    if tokens <= BLOCK or mask.device.type != "cpu":
        yield slice(None), None
        return
    for start in range(0, tokens, BLOCK):
        # A long run sees ever more slots: its beginning need not be held against all of them.
        block = slice(start, start + BLOCK)
        yield block, int(mask[0, 0, block].any(dim=0).nonzero()[-1]) + 1


def _fused(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
    _softcap: float | None,
    _sinks: torch.Tensor | None,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    """Return the output of torch's fused kernel, shape (1, heads, tokens, head size)."""
    if bias is not None:
        mask = torch.where(mask, bias[None, :, None], -torch.inf)  # (1, heads, tokens, slots)
    groups = query.shape[1] // keys.shape[1]
    if groups == 1 or query.device.type in KNOW_GROUPS:
        return functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, scale=scaling, enable_gqa=groups > 1
        )
    # Other kernels with a mask do not: the heads of a group become more tokens.
    output = functional.scaled_dot_product_attention(
        _grouped(query, groups),
        keys,
        values,
        attn_mask=_grouped(mask.expand(1, query.shape[1], -1, -1), groups),
        scale=scaling,
    )
    return output.reshape(*query.shape[:3], values.shape[3])


def _explicit(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
    softcap: float | None,
    sinks: torch.Tensor | None,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    """Return the same, computed step by step: no fused kernel knows soft caps or sinks."""
    groups = query.shape[1] // keys.shape[1]
    scores = _grouped(query, groups) @ keys.transpose(2, 3) * scaling
    scores = scores.reshape(*query.shape[:3], keys.shape[2])
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias[None, :, None]
    scores = scores.masked_fill(~mask, -torch.inf)
    if sinks is not None:
        column = sinks.to(scores.dtype).reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, column], dim=-1)
    precise = scores if scores.dtype == torch.float64 else scores.float()
    weights = precise.softmax(dim=-1)[..., : keys.shape[2]].to(values.dtype)
    output = _grouped(weights, groups) @ values
    return output.reshape(*query.shape[:3], values.shape[3])


def _grouped(heads: torch.Tensor, groups: int) -> torch.Tensor:
    """Return (1, heads, tokens, size) as (1, heads / groups, groups * tokens, size)."""
    _, count, tokens, size = heads.shape
    return heads.reshape(1, count // groups, groups * tokens, size)


def _signature(value: object) -> object:
    """Return what tells mask functions apart: their code and what it refers to."""
    if isinstance(value, FunctionType):
        cells = value.__closure__ or ()
        return (value.__code__, *(_signature(cell.cell_contents) for cell in cells))
    if isinstance(value, tuple):
        return tuple(map(_signature, value))
    return tuple(value.flatten().tolist()) if isinstance(value, torch.Tensor) else value


def _tree_mask(*, mask_function: MaskFunction, device: torch.device, **_: Any) -> torch.Tensor:
    """Return a stand-in for a model's mask: lanes have their own."""
    if running.recording is not None:
        return running.recording.stand_in(mask_function, device)
    return torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)


@torch.library.custom_op(
    "egcfg::tree_attention",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, int buffer, bool writes, int mask, "
    "float? scaling, float? softcap, Tensor? sinks) -> Tensor",
)
def _compiled_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    buffer: int,
    writes: bool,
    mask: int,
    scaling: float | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    site = Site(buffer, writes, mask)
    return _attend(query, key, value, site, scaling, softcap, sinks, None)


@_compiled_attention.register_fake
def _(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: object) -> torch.Tensor:  # noqa: ARG001
    return query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])


AttentionInterface.register(TREE_ATTENTION, tree_attention)
AttentionMaskInterface.register(TREE_ATTENTION, _tree_mask)
