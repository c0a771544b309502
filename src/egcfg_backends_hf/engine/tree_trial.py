"""Finds out whether a model can run token trees, and makes it do so.

What its config says decides first (a recurrent state cannot be cut back to a prefix). Then the
model's own code tells, in a pass that is only watched, which masks it attends with. Last, two
branches of a small tree are held against the same sequences run whole, since a wrong answer would
go unnoticed. That is done in float32 whatever the model's type is, with the model's own weights and
with windows so short that they are crossed: rounding explains no difference there, and nothing else
is as close.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, TypeAlias

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map
from transformers import DynamicCache, PreTrainedModel

from egcfg.errors import summarize
from egcfg_backends_hf.engine.attention import TREE_ATTENTION, UnknownAttentionError
from egcfg_backends_hf.engine.causal_model import CausalModel, is_out_of_memory
from egcfg_backends_hf.engine.inline_attention import attend_through_trees
from egcfg_backends_hf.engine.lanes import Lane

__all__ = ["enable_trees", "is_causal"]

logger = logging.getLogger(__name__)

TOLERANCE = 2e-3
"""How far log-probabilities of trees and of whole prefixes may lie apart, in nats, by rounding to
float32. SmolLM2's lay 2e-4 apart; of 70 small random models none more than 3e-5. What is wrong is
off by whole nats."""

TRUNK, BRANCHES = (7, 11, 5, 9, 3, 8), ((4, 6, 12), (6, 4, 10))
"""The token ids that are tried."""

WINDOW = 4
"""How far back, and how large the chunks are, while the model is tried: `TRUNK` is longer."""

WINDOWS = ("sliding_window", "attention_chunk_size")
"""What transformers' configs call these."""

KEEPING = frozenset({"DynamicLayer", "DynamicSlidingWindowLayer", "DummyLayer"})
"""Layers of a cache that keep keys and values, or nothing since they share another layer's."""

HALF = (torch.float16, torch.bfloat16)

Undo: TypeAlias = Callable[[], None]


def enable_trees(model: CausalModel) -> str | None:
    """Make a model run token trees from here on, if it can.

    Returns:
        Why it cannot; None: it does.

    Raises:
        RuntimeError: out of memory.
    """
    inner = model.model
    if reason := _unfit(inner):
        return reason
    undo: Undo | None = None
    try:
        with _narrowed(inner.config.get_text_config()) as narrowed, _precise(inner):
            rows = [(*TRUNK, *branch) for branch in BRANCHES]
            expected = model.run_whole(rows, 1)[:, 0]
            undo = _switched(inner)
            if undo is None:
                return "it computes attention in a way of its own"
            model.masks = model.record().masks
            found, slot_bytes = _try_out(model)
        if not torch.allclose(expected, found, rtol=0.0, atol=TOLERANCE):
            worst = float((expected - found).abs().nan_to_num().max())
            raise UnknownAttentionError(f"what it gives for token trees is off by {worst:.2g} nats")
        if narrowed:
            model.masks = model.record().masks  # with its windows as they are
    except Exception as error:  # a model's code fails in any way where it is used in a new one
        model.masks = ()
        if undo is not None:
            undo()
        if is_out_of_memory(error):
            raise
        return str(error) if isinstance(error, UnknownAttentionError) else summarize(error)
    finally:
        model.passes = model.tokens = 0
    model.token_bytes = slot_bytes // (2 if inner.dtype in HALF else 1)
    _limit(model)
    return None


def is_causal(model: CausalModel) -> bool:
    """Whether what a model says after a prefix does not depend on what follows the prefix.

    Raises:
        RuntimeError: out of memory.
    """
    with _precise(model.model):
        found = model.run_whole([(*TRUNK, *branch) for branch in BRANCHES], 1 + len(BRANCHES[0]))
    model.passes = model.tokens = 0
    return torch.allclose(found[0, 0], found[1, 0], rtol=0.0, atol=TOLERANCE, equal_nan=True)


def _unfit(model: PreTrainedModel) -> str | None:
    config = model.config.get_text_config()
    if model._is_stateful:
        return "it keeps a recurrent state, which cannot be cut back to a prefix"
    if {type(layer).__name__ for layer in DynamicCache(config=config).layers} - KEEPING:
        return "it keeps a state in some layers that cannot be cut back to a prefix"
    return None


def _switched(model: PreTrainedModel) -> Undo | None:
    """Let a model attend through token trees; return what restores its own way, if it can."""
    if not model._can_set_attn_implementation():
        return attend_through_trees(model)
    usual = model.config._attn_implementation
    model.set_attn_implementation(TREE_ATTENTION)
    return lambda: model.set_attn_implementation(usual)


def _try_out(model: CausalModel) -> tuple[Any, int]:
    """Return the distributions after each of `BRANCHES`, in one tree, and a slot's bytes."""
    lane = Lane(0)
    trunk = lane.tree.path(TRUNK)
    lane.tree.take_slots(trunk)
    model.run_tree([(lane, trunk)], [len(trunk) - 1])
    paths = [lane.tree.path((*TRUNK, *branch)) for branch in BRANCHES]
    nodes = [node for path in paths for node in path[len(TRUNK) :]]
    lane.tree.take_slots(nodes)
    found = model.run_tree([(lane, nodes)], [nodes.index(path[-1]) for path in paths])
    return found, lane.buffers.slot_bytes


def _limit(model: CausalModel) -> None:
    """Note where a model begins to read otherwise, and say so where it may not go on."""
    config = model.model.config.get_text_config()
    for rope in _rope_parameters(config):
        switch = rope.get("original_max_position_embeddings")
        if rope.get("rope_type") == "longrope" and switch:
            model.longest_short = min(switch, model.longest_short or switch)
    end, why = None, ""
    if any("dynamic" in str(rope.get("rope_type")) for rope in _rope_parameters(config)):
        end, why = config.max_position_embeddings, "its rotary frequencies change with each token"
    if getattr(config, "attn_temperature_tuning", False):
        end, why = config.floor_scale - 1, "its attention has another temperature"
    if end is not None and end <= (model.context_length or end):
        model.context_length = end
        logger.warning("the context ends at %d tokens: after them %s", end, why)


def _rope_parameters(config: Any) -> list[Mapping[str, Any]]:
    """Return a config's rotary parameters: one, or one for each kind of layer."""
    found = getattr(config, "rope_parameters", None) or {}
    if "rope_type" in found:
        return [found]
    return [kind for kind in found.values() if isinstance(kind, Mapping)]


@contextmanager
def _narrowed(config: Any) -> Iterator[bool]:
    """Make a config's windows so short that `TRUNK` crosses them; yield whether it has any."""
    usual = {name: getattr(config, name, None) for name in WINDOWS}
    usual = {name: size for name, size in usual.items() if isinstance(size, int) and size > WINDOW}
    for name in usual:
        setattr(config, name, WINDOW)
    try:
        yield bool(usual)
    finally:
        for name, size in usual.items():
            setattr(config, name, size)


def _precise(model: PreTrainedModel) -> Any:
    return _Float32() if model.dtype in HALF else nullcontext()


class _Float32(TorchFunctionMode):
    """Computes in float32 what is given in 16 bits: weights are widened one by one, where used."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is torch.Tensor.__getitem__:  # of many experts' weights, one is taken
            return function(*args, **(kwargs or {}))
        args, kwargs = tree_map(_widened, (args, kwargs or {}))
        return function(*args, **kwargs)


def _widened(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype in HALF:
        with torch._C.DisableTorchFunction():
            return value.float()
    return value
