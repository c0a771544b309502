"""Runs token ids through a transformers model and counts what ran.

Knows nothing about text, sequences or sampling. What it gives stays on the model's device: a
distribution of 150,000 tokens takes longer to leave a GPU than to be chosen from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from egcfg_backends_hf.engine.attention import (
    MaskFunction,
    PassPart,
    Recording,
    masks_by_kind,
    running,
)
from egcfg_backends_hf.engine.lanes import Lane
from egcfg_backends_hf.engine.slot_cache import PassCache
from egcfg_backends_hf.engine.token_tree import Node, TokenTree, visibility

__all__ = ["HOST", "CausalModel", "is_out_of_memory", "to_host"]

HOST = ("cpu",)
"""Devices whose memory is the host's."""

# How far the log-probability of a likely token may move with what else runs in its pass, in nats.
# Measured with SmolLM2-135M, alone and among eight: the 20 likeliest tokens moved by 7e-5 at most,
# the margin between the first two by 6e-5 (float32, float16 weights too); in bfloat16 by 0.4 both.
ROUNDING = {torch.float64: 0.0, torch.float32: 1e-4}
COARSE = 0.25
"""The same for 16-bit numbers and quantised weights."""


ROWS = 8
"""Distributions that are normalised at once in the host's memory."""


class CausalModel:
    """A causal language model.

    Args:
        model: in evaluation mode.

    Attributes:
        model: the same.
        on_host: whether what it gives is in the host's memory.
        context_length: positions that the model was made for; None: its config does not say.
        rounding: how far a log-probability may move with what else runs in the pass, in nats.
        masks: how its attention masks, for token trees; empty until
            `egcfg_backends_hf.engine.tree_trial` has found out.
        longest_short: tokens of the longest prefix that is read as short ones are; None: all are.
        token_bytes: memory of one token's keys and values, in all layers; 0: none are kept.
        passes: forward passes so far.
        tokens: tokens that ran through them, of all rows.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        config = model.config.get_text_config()
        self.on_host = model.device.type in HOST
        self.context_length = _context_length(config)
        self.rounding = ROUNDING.get(model.dtype, COARSE)
        self.masks: Sequence[MaskFunction] = ()
        self.longest_short: int | None = None
        self.token_bytes = 0
        self._cache = PassCache(config.num_hidden_layers)
        self.passes = 0
        self.tokens = 0

    def run_tree(
        self, parts: Sequence[tuple[Lane, Sequence[Node]]], wanted: Sequence[int]
    ) -> torch.Tensor:
        """Run nodes whose ancestors are in the cache or among them; their slots are filled.

        Args:
            parts: lanes, each with nodes of its tree: parents before their children, all of which
                have slots.
            wanted: indices, among all nodes, of those after which a distribution is wanted.

        Returns:
            Natural log-probabilities, shape (wanted, vocab); float32, or float64 for a float64
            model.
        """
        nodes = [node for _, of_lane in parts for node in of_lane]
        ids, positions, slots, kept, *of_slots = self._upload(
            np.array([node.token for node in nodes]),
            np.array([node.position for node in nodes]),
            np.array([node.slot for node in nodes]),
            np.array(wanted),
            *(lane.tree.positions for lane, _ in parts),
        )
        visible = self._upload(*(_seen(lane.tree, of_lane).ravel() for lane, of_lane in parts))
        running.parts, running.calls = [], {}
        for (lane, of_lane), of_lane_slots, seen in zip(parts, of_slots, visible, strict=True):
            start = running.parts[-1].rows.stop if running.parts else 0
            rows = slice(start, start + len(of_lane))
            masks = masks_by_kind(
                self.masks, seen.view(len(of_lane), -1), positions[rows], of_lane_slots
            )
            length = int(lane.tree.positions.max()) + 1
            part = PassPart(rows, slots[rows], masks, of_lane_slots, length, lane.buffers)
            running.parts.append(part)
        try:
            logprobs = self._logprobs(
                input_ids=ids[None],
                position_ids=positions[None],
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=kept,
            )
        finally:
            running.parts = ()
        self.tokens += len(nodes)
        return logprobs[0]

    def run_whole(self, rows: Sequence[Sequence[int]], keep: int) -> torch.Tensor:
        """Run whole prefixes, nothing kept.

        Args:
            rows: token ids, equally many in each row.
            keep: how many distributions are wanted, counted from the end.

        Returns:
            As `run_tree`, shape (rows, keep, vocab).
        """
        ids = torch.tensor(rows, device=self.model.device)
        logprobs = self._logprobs(input_ids=ids, use_cache=False, logits_to_keep=keep)
        self.tokens += ids.numel()
        return logprobs

    def run_once(self) -> None:
        """Run two tokens as passes do, for whoever watches, or to see that it works."""
        if self.masks:
            lane = Lane(0)
            nodes = lane.tree.path((0, 1))
            lane.tree.take_slots(nodes)
            self.run_tree([(lane, nodes)], [1])
        else:
            self.run_whole([(0, 1)], 1)
        self.passes = self.tokens = 0

    @torch.inference_mode()
    def record(self) -> Recording:
        """Return where and how the model attends, found out by a pass that computes nothing of use.

        Raises:
            UnknownAttentionError: it does so in a way that token trees do not know.
        """
        device = self.model.device
        running.recording = Recording()
        try:
            self.model(
                input_ids=torch.tensor([[0, 1]], device=device),
                position_ids=torch.tensor([[0, 1]], device=device),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
            running.recording.finish()
            return running.recording
        finally:
            running.recording = None

    @torch.inference_mode()
    def _logprobs(self, **inputs: object) -> torch.Tensor:
        logits = self.model(**inputs).logits
        self.passes += 1
        precise: torch.Tensor = logits if logits.dtype == torch.float64 else logits.float()
        if not self.on_host:
            return torch.log_softmax(precise, dim=-1)
        for row in precise:  # in place: these numbers are most of what a pass takes beside weights
            for piece in torch.split(row, ROWS):
                piece.copy_(torch.log_softmax(piece, dim=-1))
        return precise

    def _upload(self, *arrays: NDArray[Any]) -> Sequence[torch.Tensor]:
        """Return one-dimensional arrays of one type on the model's device, in one copy."""
        joined = torch.from_numpy(np.concatenate(arrays)).to(self.model.device)
        return torch.split(joined, [len(array) for array in arrays])


def _seen(tree: TokenTree, nodes: Sequence[Node]) -> NDArray[np.bool_]:
    """Return which slots `nodes` attend to, shape (nodes, slots), for the next pass as well."""
    rows = visibility(nodes, tree.used, tree.seen)
    tree.seen = dict(zip(nodes, rows, strict=True))
    return rows


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy in the host's memory, once whatever makes the tensor has run."""
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether torch failed for lack of memory, on an accelerator or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        # The CPU's allocator has no exception class of its own.
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _context_length(config: Any) -> int | None:
    """Return how many positions a model was made for; None: its config does not say."""
    names = ("max_position_embeddings", "max_seq_len")
    found = [getattr(config, name, None) for name in names]
    return next((length for length in found if isinstance(length, int) and length > 0), None)
