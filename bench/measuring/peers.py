"""transformers' own ways to decode the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from workbench import Stopwatch

from egcfg_backends_hf.engine.causal_model import CausalModel
from egcfg_backends_hf.loading.load import load_model, pack_model
from egcfg_backends_hf.options import HFOptions

__all__ = ["generate", "generate_batch", "open_bare"]


GREEDY: dict[str, Any] = {
    "do_sample": False,
    "temperature": None,
    "top_p": None,
    "top_k": None,
    "repetition_penalty": 1.0,
    "pad_token_id": 0,
}


def open_bare(options: HFOptions) -> Any:
    """Return a model as transformers runs it, its weights kept as egcfg keeps them."""
    model = load_model(options).model
    pack_model(model, options, CausalModel(model).run_once)
    return model


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
        **GREEDY,
        "max_new_tokens": length,
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


class _Lengths(StoppingCriteria):
    """Ends each row once it has so many tokens."""

    def __init__(self, start: int, lengths: Sequence[int]) -> None:
        self._start = start
        self._lengths = torch.tensor(lengths)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:  # noqa: ARG002
        return (input_ids.shape[1] - self._start >= self._lengths).to(input_ids.device)


def generate_batch(
    model: Any, prompts: Sequence[Sequence[int]], lengths: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    """Run transformers' ``generate`` on several prompts at once, greedily, padded on the left.

    Args:
        model: the transformers model.
        prompts: token ids.
        lengths: tokens of each answer, of which the batch ends with the longest.

    Returns:
        The answers' ids.
    """
    width = max(map(len, prompts))
    pads = [width - len(prompt) for prompt in prompts]
    rows = [[0] * pad + list(prompt) for pad, prompt in zip(pads, prompts, strict=True)]
    masks = [[0] * pad + [1] * (width - pad) for pad in pads]
    with torch.inference_mode():
        found = model.generate(
            torch.tensor(rows, device=model.device),
            attention_mask=torch.tensor(masks, device=model.device),
            max_new_tokens=max(lengths),
            stopping_criteria=StoppingCriteriaList([_Lengths(width, lengths)]),
            **GREEDY,
        )[:, width:].tolist()
    return tuple(tuple(row[:n]) for row, n in zip(found, lengths, strict=True))
