"""Attention for token trees: torch's fused kernel with a mask, without expanding shared heads.

transformers repeats the keys and values of grouped heads wherever there is a mask. The CPU's kernel
need not have them repeated (half the time for one token over 1,000); CUDA's would fall back to a
slow one, so there the way of transformers stays.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

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
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention's output, shape (1, tokens, heads, head size).

    Args:
        module: the layer that asks.
        query: shape (1, heads, tokens, head size).
        key: shape (1, key heads, slots, head size).
        value: the same.
        attention_mask: shape (1, 1, tokens, slots), True where a token sees a slot; None as in
            `transformers.integrations.sdpa_attention`.
        scaling: of the scores before their softmax.
        more: what else a model may pass on; unknown kinds of attention are left to transformers,
            which refuses what it cannot do.
    """
    unusual = any(value is not None for name, value in more.items() if name not in KNOWN)
    if attention_mask is None or unusual or query.device.type != "cpu":
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **more
        )
    parts = []
    for start in range(0, query.shape[2], BLOCK):
        # A long run sees ever more slots: its beginning need not be held against all of them.
        mask = attention_mask[:, :, start : start + BLOCK]
        last = int(mask[0, 0].any(dim=0).nonzero()[-1]) + 1 if query.shape[2] > BLOCK else None
        parts.append(
            functional.scaled_dot_product_attention(
                query[:, :, start : start + BLOCK],
                key[:, :, :last],
                value[:, :, :last],
                attn_mask=mask[..., :last],
                scale=scaling,
                enable_gqa=True,
            )
        )
    output = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(TREE_ATTENTION, tree_attention)
AttentionMaskInterface.register(TREE_ATTENTION, sdpa_mask)
