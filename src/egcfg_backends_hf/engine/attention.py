"""Attention for token trees: torch's fused kernel with a mask, without expanding shared heads.

transformers repeats the keys and values of grouped heads wherever there is a mask. The CPU's kernel
need not have them repeated (half the time for one token over 1,000); CUDA's would fall back to a
slow one, so there the way of transformers stays.

To a compiler all of it is one operator: how many lanes there are, and how many slots each has,
changes from pass to pass, and must not be compiled in.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from egcfg_backends_hf.engine.slot_cache import PassPart, running

__all__ = ["TREE_ATTENTION", "tree_attention"]

TREE_ATTENTION = "egcfg_tree"
"""The name that a model's `set_attn_implementation` takes."""

BLOCK = 256
"""Tokens whose attention is computed at once."""

KNOWN = frozenset({"dropout", "scaling", "is_causal", "position_ids", "use_cache"})
"""Arguments that change nothing here, or that are taken into account."""


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 - each lane has its own
    scaling: float | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention's output, shape (1, tokens, heads, head size).

    Each token attends to slots of its own lane (`egcfg_backends_hf.engine.slot_cache.running`).

    Args:
        module: the layer that asks.
        query: shape (1, heads, tokens, head size).
        key: shape (1, key heads, tokens, head size), of this pass: in its lane's slots already.
        value: the same.
        attention_mask: of no use here.
        scaling: of the scores before their softmax.
        more: what else a model may pass on; unknown kinds of attention are left to transformers,
            which refuses what it cannot do.
    """
    if any(value is not None for name, value in more.items() if name not in KNOWN):
        return _by_transformers(module, query, scaling, more), None
    if torch.compiler.is_compiling():
        output: torch.Tensor = torch.ops.egcfg.tree_attention(query, key, value, scaling)
        return output, None
    return _attend(query, scaling), None


@torch.compiler.disable  # type: ignore[untyped-decorator]  # torch gives it no type
def _by_transformers(
    module: Any, query: torch.Tensor, scaling: float | None, more: dict[str, Any]
) -> torch.Tensor:
    parts = []
    for part in running.parts:
        mask = part.mask.to(query.device)  # a model's layers may be on several devices
        rows = query[:, :, part.rows]
        output, _ = sdpa_attention_forward(
            module, rows, part.keys, part.values, mask, scaling=scaling, **more
        )
        parts.append(output)
    return torch.cat(parts, dim=1).contiguous()


def _attend(query: torch.Tensor, scaling: float | None) -> torch.Tensor:
    if query.device.type != "cpu":
        heads = running.parts[0].keys.shape[1] if running.parts else query.shape[1]
        groups = SimpleNamespace(num_key_value_groups=query.shape[1] // heads)
        output: torch.Tensor = _by_transformers(groups, query, scaling, {})
        return output
    parts = [
        output.transpose(1, 2)
        for part in running.parts
        for output in _blocks(query[:, :, part.rows], part, scaling)
    ]
    return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).contiguous()


def _blocks(query: torch.Tensor, part: PassPart, scaling: float | None) -> Iterator[torch.Tensor]:
    """Yield the outputs for the tokens of one lane, block by block."""
    for start in range(0, query.shape[2], BLOCK):
        # A long run sees ever more slots: its beginning need not be held against all of them.
        mask = part.mask[:, :, start : start + BLOCK]
        last = int(mask[0, 0].any(dim=0).nonzero()[-1]) + 1 if query.shape[2] > BLOCK else None
        yield functional.scaled_dot_product_attention(
            query[:, :, start : start + BLOCK],
            part.keys[:, :, :last],
            part.values[:, :, :last],
            attn_mask=mask[..., :last],
            scale=scaling,
            enable_gqa=True,
        )


@torch.library.custom_op(
    "egcfg::tree_attention",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, float? scaling) -> Tensor",
)
def _compiled_attention(
    query: torch.Tensor,
    key: torch.Tensor,  # noqa: ARG001 - says only that the lanes' slots are filled
    value: torch.Tensor,  # noqa: ARG001
    scaling: float | None,
) -> torch.Tensor:
    return _attend(query, scaling)


@_compiled_attention.register_fake
def _(
    query: torch.Tensor,
    key: torch.Tensor,  # noqa: ARG001
    value: torch.Tensor,
    scaling: float | None,  # noqa: ARG001
) -> torch.Tensor:
    return query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])


AttentionInterface.register(TREE_ATTENTION, tree_attention)
AttentionMaskInterface.register(TREE_ATTENTION, sdpa_mask)
