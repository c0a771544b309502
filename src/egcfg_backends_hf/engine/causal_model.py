"""Runs token ids through a transformers model and counts what ran.

Knows nothing about text, sequences or sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from egcfg_backends_hf.engine.attention import TREE_ATTENTION
from egcfg_backends_hf.engine.lanes import Lane
from egcfg_backends_hf.engine.slot_cache import PassCache, PassPart, SlotBuffers, running
from egcfg_backends_hf.engine.token_tree import Node, visibility

__all__ = ["CausalModel", "FloatArray", "is_out_of_memory"]

FloatArray: TypeAlias = NDArray[np.floating[Any]]

# How far log-probabilities of trees and of whole prefixes may lie apart, by rounding alone.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
COARSE = 0.25
"""The same for 16-bit numbers and quantised weights."""

# How far the log-probability of a likely token may move with what else runs in its pass, in nats.
# Measured with SmolLM2-135M, alone and among eight: the 20 likeliest tokens moved by 7e-5 at most,
# the margin between the first two by 6e-5 (float32, float16 weights too); in bfloat16 by 0.4 both.
ROUNDING = {torch.float64: 0.0, torch.float32: 1e-4}

TRUNK, BRANCHES = (1, 2), ((3, 4, 5), (4, 3, 6))
"""The token ids that `CausalModel.enable_tree_attention` tries out."""


class CausalModel:
    """A causal language model.

    Args:
        model: in evaluation mode.

    Attributes:
        context_length: positions that the model was made for; None: its config does not say.
        layers: how many caches of keys and values it needs.
        rounding: how far a log-probability may move with what else runs in the pass, in nats.
        token_bytes: memory of one token's keys and values, in all layers; 0: none are kept.
        passes: forward passes so far.
        tokens: tokens that ran through them, of all rows.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        config = model.config.get_text_config()
        self.context_length: int | None = getattr(config, "max_position_embeddings", None)
        self.layers: int = config.num_hidden_layers
        self.rounding = ROUNDING.get(model.dtype, COARSE)
        self.token_bytes = 0
        self._cache = PassCache(self.layers)
        self.passes = 0
        self.tokens = 0

    def enable_tree_attention(self) -> bool:
        """Make the model run token trees from here on, if it can; return whether it does.

        That takes full attention in every layer (sliding windows drop what a shorter prefix needs,
        recurrent states cannot be rolled back), and a model that honours any mask and any
        positions: whether it does is tried out, since a wrong answer would go unnoticed.
        """
        model, config = self._model, self._model.config.get_text_config()
        full = all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)
        if model._is_stateful or not full or not model._supports_attention_backend:
            return False
        expected = [self.run_whole([(*TRUNK, *branch)], 1)[0, 0] for branch in BRANCHES]
        usual = model.config._attn_implementation
        model.set_attn_implementation(TREE_ATTENTION)
        lane = Lane(0, SlotBuffers(self.layers))
        paths = [lane.tree.path((*TRUNK, *branch)) for branch in BRANCHES]
        nodes = list(dict.fromkeys(node for path in paths for node in path))
        lane.tree.take_slots(nodes)
        found = self.run_tree([(lane, nodes)], [nodes.index(path[-1]) for path in paths])
        self.passes = self.tokens = 0
        limit = TOLERANCE.get(model.dtype, COARSE)
        if all(abs(a - b).max() <= limit for a, b in zip(expected, found, strict=True)):
            self.token_bytes = lane.buffers.slot_bytes
            return True
        model.set_attn_implementation(usual)
        return False

    def run_tree(
        self, parts: Sequence[tuple[Lane, Sequence[Node]]], wanted: Sequence[int]
    ) -> FloatArray:
        """Run nodes whose ancestors are in the cache or among them; their slots are filled.

        Args:
            parts: lanes, each with nodes of its tree: parents before their children, all of which
                have slots.
            wanted: indices, among all nodes, of those after which a distribution is wanted.

        Returns:
            Natural log-probabilities, shape (wanted, vocab); float32, or float64 for a float64
            model.
        """
        device = self._model.device
        nodes = [node for _, of_lane in parts for node in of_lane]
        running.parts = []
        for lane, of_lane in parts:
            start = running.parts[-1].rows.stop if running.parts else 0
            mask = torch.from_numpy(visibility(of_lane, lane.tree.used))  # (nodes, slots)
            running.parts.append(
                PassPart(
                    rows=slice(start, start + len(of_lane)),
                    slots=torch.tensor([node.slot for node in of_lane], device=device),
                    mask=mask[None, None].to(device),
                    buffers=lane.buffers,
                )
            )
        try:
            logprobs = self._logprobs(
                input_ids=torch.tensor([[node.token for node in nodes]], device=device),
                position_ids=torch.tensor([[node.position for node in nodes]], device=device),
                # Each lane has its own; this one keeps the model from making one.
                attention_mask=torch.ones(1, 1, len(nodes), 1, dtype=torch.bool, device=device),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=torch.tensor(wanted, dtype=torch.long, device=device),
            )
        finally:
            running.parts = ()
        self.tokens += len(nodes)
        only: FloatArray = logprobs[0]
        return only

    def run_whole(self, rows: Sequence[Sequence[int]], keep: int) -> FloatArray:
        """Run whole prefixes, nothing kept.

        Args:
            rows: token ids, equally many in each row.
            keep: how many distributions are wanted, counted from the end.

        Returns:
            As `run_tree`, shape (rows, keep, vocab).
        """
        ids = torch.tensor(rows, device=self._model.device)
        logprobs = self._logprobs(input_ids=ids, use_cache=False, logits_to_keep=keep)
        self.tokens += ids.numel()
        return logprobs

    @torch.inference_mode()
    def _logprobs(self, **inputs: object) -> FloatArray:
        logits = self._model(**inputs).logits
        self.passes += 1
        precise = logits if logits.dtype == torch.float64 else logits.float()
        logprobs: FloatArray = torch.log_softmax(precise, dim=-1).cpu().numpy()
        return logprobs


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether torch failed for lack of memory, on an accelerator or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        # The CPU's allocator has no exception class of its own.
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
