"""Models that compute attention inside of their own layers, made to attend through token trees.

transformers has no switch for them. What is replaced, on the layers of one model, is the method
that attends; projections, rotary positions and all else stay the model's own. ALiBi (Press et al.,
2022) is added to the scores from the positions of the keys, as each family rounds it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any, TypeAlias

import torch
from transformers import PreTrainedModel

from egcfg_backends_hf.engine.attention import Bias, tree_attention

__all__ = ["attend_through_trees"]

Undo: TypeAlias = Callable[[], None]


def attend_through_trees(model: PreTrainedModel) -> Undo | None:
    """Replace the attention of a model's layers.

    Returns:
        What restores it; None: the model is of no known family.
    """
    replaced = []
    for module in model.modules():
        family = type(module).__module__.removeprefix("transformers.models.").partition(".")[0]
        found = FAMILIES.get((family, type(module).__name__))
        if found is not None:
            method, function = found
            setattr(module, method, MethodType(function, module))
            replaced.append((module, method))
    if not replaced:
        return None

    def undo() -> None:
        for module, method in replaced:
            delattr(module, method)

    return undo


# --- layers with a method that attends and does nothing else ----------------------------------


def _attend(
    layer: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scaling: float,
    window: int | None = None,
) -> tuple[torch.Tensor, None]:
    """Return the output as these layers expect it, shape (1, heads, tokens, head size)."""
    query, key = query.to(value.dtype), key.to(value.dtype)
    output, _ = tree_attention(
        layer, query, key, value, None, scaling=scaling, sliding_window=window
    )
    return output.transpose(1, 2), None


def _gpt_j(
    layer: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: object
) -> tuple[torch.Tensor, None]:
    return _attend(layer, query, key, value, scaling=1.0 / float(layer.scale_attn))


def _gpt_neo(
    layer: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: object
) -> tuple[torch.Tensor, None]:
    window = layer.config.window_size if layer.attention_type == "local" else None
    return _attend(layer, query, key, value, scaling=1.0, window=window)


def _gpt_1(
    layer: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: object
) -> list[torch.Tensor]:
    scaling = value.shape[3] ** -0.5 if layer.scale else 1.0
    output, _none = _attend(layer, query, key.transpose(2, 3), value, scaling=scaling)
    return [output]


# --- layers that attend inside of their forward method ----------------------------------------


def _bloom(
    layer: Any, hidden: torch.Tensor, residual: torch.Tensor, *_: object, **__: object
) -> tuple[torch.Tensor, None]:
    query, key, value = layer._reshape(layer.query_key_value(hidden))
    bias = _keys_bias(layer, layer.num_heads, value.dtype)
    output, _none = tree_attention(
        layer, query, key, value, None, scaling=layer.inv_norm_factor, bias=bias
    )
    return residual + layer.dense(output.flatten(2)), None


def _mpt(layer: Any, hidden: torch.Tensor, *_: object, **__: object) -> tuple[torch.Tensor, None]:
    joined = layer.Wqkv(hidden)
    if layer.clip_qkv:
        joined = joined.clamp(min=-layer.clip_qkv, max=layer.clip_qkv)
    query, key, value = (
        states.unflatten(2, (layer.n_heads, layer.head_dim)).transpose(1, 2)
        for states in joined.chunk(3, dim=2)
    )

    def bias(positions: torch.Tensor, length: int) -> torch.Tensor:
        # Distances to any other token than the own one only shift all scores.
        build = _family(layer).build_mpt_alibi_tensor
        alibi: torch.Tensor = build(layer.n_heads, length, device=positions.device)
        return alibi[:, 0, positions]

    scaling = layer.softmax_scale
    output, _none = tree_attention(layer, query, key, value, None, scaling=scaling, bias=bias)
    return layer.out_proj(output.flatten(2)), None


def _falcon(
    layer: Any,
    hidden: torch.Tensor,
    alibi: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,  # noqa: ARG001 - each lane has its own
    *_: object,
    position_embeddings: Sequence[torch.Tensor] = (),
    **__: object,
) -> tuple[torch.Tensor, None]:
    query, key, value = (
        states.transpose(1, 2) for states in layer._split_heads(layer.query_key_value(hidden))
    )
    bias = None
    if alibi is None:
        query, key = _family(layer).apply_rotary_pos_emb(query, key, *position_embeddings)
    else:
        bias = _keys_bias(layer, layer.num_heads, value.dtype, layer.inv_norm_factor)
    output, _none = tree_attention(
        layer, query, key, value, None, scaling=layer.inv_norm_factor, bias=bias
    )
    return layer.dense(output.flatten(2)), None


def _keys_bias(layer: Any, heads: int, dtype: torch.dtype, scale: float = 1.0) -> Bias:
    """Return ALiBi from a family's own function, which takes masks of whole sequences."""

    def bias(positions: torch.Tensor, length: int) -> torch.Tensor:
        ones = positions.new_ones(1, length)
        alibi: torch.Tensor = _family(layer).build_alibi_tensor(ones, heads, dtype)
        return alibi[:, 0, positions] * scale

    return bias


def _family(layer: Any) -> Any:
    """Return the module of transformers that defines a layer."""
    return sys.modules[type(layer).__module__]


FAMILIES: Mapping[tuple[str, str], tuple[str, Callable[..., Any]]] = {
    ("gptj", "GPTJAttention"): ("_attn", _gpt_j),
    ("codegen", "CodeGenAttention"): ("_attn", _gpt_j),
    ("gpt_neo", "GPTNeoSelfAttention"): ("_attn", _gpt_neo),
    ("openai", "Attention"): ("_attn", _gpt_1),
    ("bloom", "BloomAttention"): ("forward", _bloom),
    ("mpt", "MptAttention"): ("forward", _mpt),
    ("falcon", "FalconAttention"): ("forward", _falcon),
}
"""By folder in transformers and class: the method that attends, and what takes its place."""
