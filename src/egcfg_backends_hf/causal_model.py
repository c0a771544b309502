"""Runs token ids through a transformers model and counts what ran.

Knows nothing about text, sequences or sampling.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from transformers import DynamicCache, PreTrainedModel

from egcfg.backend import FloatArray
from egcfg_backends_hf.prefix_cache import supports_cutting

__all__ = ["CausalModel"]

logger = logging.getLogger(__name__)


class CausalModel:
    """A causal language model on one device.

    Args:
        model: in evaluation mode.
        name: for the log.

    Attributes:
        cached: whether prefixes are kept in key/value caches. False where the model's caches
            cannot be cut back to a prefix: then every question runs its whole prefix.
        context_length: positions that the model was made for; None: its config does not say.
        passes: forward passes so far.
        tokens: tokens that ran through them, of all rows.
    """

    def __init__(self, model: PreTrainedModel, name: str) -> None:
        self._model = model
        config = model.config.get_text_config()
        self.context_length: int | None = getattr(config, "max_position_embeddings", None)
        self.cached = not model._is_stateful and supports_cutting(DynamicCache(config=config))
        self.passes = 0
        self.tokens = 0
        if not self.cached:
            logger.warning(
                "%s keeps its past in a way that cannot be cut back to a prefix (a sliding window "
                "or a recurrent state): every question runs the whole prompt, which is slow",
                name,
            )

    @torch.inference_mode()
    def run(
        self, rows: Sequence[Sequence[int]], cache: DynamicCache | None, keep: int
    ) -> FloatArray:
        """Run tokens behind what `cache` holds, and add them to it.

        Args:
            rows: token ids, equally many in each row.
            cache: as many rows; None: the rows are whole prefixes.
            keep: how many distributions are wanted, counted from the end.

        Returns:
            Natural log-probabilities of the next token after each of the last `keep` tokens, shape
            (rows, keep, vocab); float32, or float64 for a float64 model.
        """
        ids = torch.tensor(rows, device=self._model.device)  # (rows, new)
        logits = self._model(
            input_ids=ids, past_key_values=cache, use_cache=cache is not None, logits_to_keep=keep
        ).logits
        self.passes += 1
        self.tokens += ids.numel()
        precise = logits if logits.dtype == torch.float64 else logits.float()
        logprobs: FloatArray = torch.log_softmax(precise, dim=-1).cpu().numpy()
        return logprobs
