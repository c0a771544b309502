"""transformers' own ways to decode the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList
from workbench import Stopwatch

__all__ = ["generate"]


class _Forced(LogitsProcessor):
    """Makes given tokens the likeliest, one per step."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = iter(tokens)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        scores[:, next(self._tokens)] = torch.inf
        return scores


def generate(
    model: Any,
    prompt: Sequence[int],
    length: int,
    *,
    forced: Sequence[int] | None = None,
    lookup: int | None = None,
    guidance: tuple[float, Sequence[int]] | None = None,
) -> tuple[tuple[int, ...], float]:
    """Run transformers' ``generate``, greedily.

    Args:
        model: the transformers model.
        prompt: token ids.
        length: of the answer, in tokens.
        forced: the answer's tokens, whatever the model prefers.
        lookup: tokens that prompt look-up drafts at most; None: it drafts nothing.
        guidance: a strength and the unconditional prompt: turns on transformers' classifier-free
            guidance, with `prompt` as the conditional one.

    Returns:
        The answer's ids, and the seconds that it took.
    """
    ids = torch.tensor([list(prompt)], device=model.device)
    settings: dict[str, Any] = {
        "max_new_tokens": length,
        "do_sample": False,
        "temperature": None,
        "top_p": None,
        "top_k": None,
        "repetition_penalty": 1.0,
        "pad_token_id": 0,
        "attention_mask": torch.ones_like(ids),
    }
    if forced is not None:
        settings["logits_processor"] = LogitsProcessorList([_Forced(forced)])
    if lookup is not None:
        settings["prompt_lookup_num_tokens"] = lookup
    if guidance is not None:
        strength, negative = guidance
        settings["guidance_scale"] = strength
        settings["negative_prompt_ids"] = torch.tensor([list(negative)], device=model.device)
    watch = Stopwatch()
    with watch.running(), torch.inference_mode():
        found = model.generate(ids, **settings)[0, ids.shape[1] :].tolist()
    return tuple(found), watch.seconds
