"""Any backend as a service: answers Fireworks' completion requests, field by field."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import define, field

from egcfg.errors import ContextOverflowError
from egcfg.interfaces.backend import (
    Continuation,
    LogprobBackend,
    SampleQuery,
    SamplingParams,
    ScoreQuery,
    TokenLogprobs,
    TokenSequence,
)
from egcfg_backends_fireworks.testing.loopback import Answer

__all__ = ["ServedModel"]

KEPT = 4
"""Sequences kept per cache key."""


@define
class ServedModel:
    """Answers completion requests by asking a dense backend, one request at a time.

    Prompts are text or token ids, one or several; ``n``, ``echo`` and ``echo_last``, both shapes of
    log-probabilities, ``token_ids`` and ``prompt_token_ids``, ``raw_output``, and a usage that
    tells how much of the prompts was cached: prefixes are found again under the same
    ``prompt_cache_key``.

    Attributes:
        backend: the model.
        most_alternatives: what may be asked for per token.
        requests: every request so far.
    """

    backend: LogprobBackend
    most_alternatives: int = 5
    requests: list[dict[str, Any]] = field(factory=list)
    _kept: dict[str, list[TokenSequence]] = field(factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    def __call__(self, request: dict[str, Any]) -> Answer:
        """Answer one request."""
        with self._lock:
            self.requests.append(request)
            refusal = self._refusal(request)
            if not refusal:
                try:
                    return Answer(json.dumps(self._completion(request)).encode())
                except ContextOverflowError as error:
                    refusal = (
                        f"The prompt is too long: {error.needed}, "
                        f"model maximum context length: {error.available}"
                    )
        return Answer(json.dumps({"error": {"message": refusal}}).encode(), 400)

    def _refusal(self, request: dict[str, Any]) -> str:
        if _alternatives(request) > self.most_alternatives:
            return f"logprobs must be at most {self.most_alternatives}"
        if not 1 <= request.get("n", 1) <= 128:
            return "n must be between 1 and 128"
        return "logit_bias is not taken" if request.get("logit_bias") else ""

    def _completion(self, request: dict[str, Any]) -> dict[str, Any]:
        prompts = [self._ids(prompt) for prompt in _prompts(request["prompt"])]
        sequences, cached = self._sequences(prompts, request.get("prompt_cache_key", ""))
        params = SamplingParams(
            temperature=request.get("temperature", 1.0),
            top_p=request.get("top_p", 1.0),
            max_tokens=request["max_tokens"],
            seed=request.get("seed", 0),
        )
        queries = [SampleQuery(each, request.get("n", 1), params) for each in sequences]
        choices: list[dict[str, Any]] = []
        for sequence, drawn in zip(sequences, self.backend.sample(queries), strict=True):
            for continuation in drawn:
                choice = self._choice(request, sequence, continuation)
                choices.append({"index": len(choices), **choice})
        sent = sum(map(len, prompts))
        return {
            "id": "cmpl-1",
            "object": "text_completion",
            "model": request["model"],
            "choices": choices,
            "usage": {
                "prompt_tokens": sent,
                "completion_tokens": sum(len(choice.pop("generated")) for choice in choices),
                "total_tokens": sent,
                "prompt_tokens_details": {"cached_tokens": cached},
            },
        }

    def _ids(self, prompt: str | list[int]) -> tuple[int, ...]:
        return self.backend.encode(prompt) if isinstance(prompt, str) else tuple(prompt)

    def _sequences(
        self, prompts: Sequence[tuple[int, ...]], key: str
    ) -> tuple[list[TokenSequence], int]:
        """Return a sequence for each prompt, the one that shares most with it if any is free."""
        kept = self._kept.setdefault(key, [])
        chosen: list[TokenSequence] = []
        cached = 0
        for ids in prompts:
            free = [s for s in kept if not any(s is other for other in chosen)]
            best = max(free, key=lambda s, ids=ids: _shared(s.ids, ids), default=None)  # type: ignore[misc]
            shared = 0 if best is None else min(_shared(best.ids, ids), len(ids) - 1)
            if best is None or (not shared and len(kept) < KEPT):
                best = self.backend.start(ids)
                kept.append(best)
            cached += shared
            best.ids = ids
            chosen.append(best)
        return chosen, cached

    def _choice(
        self, request: dict[str, Any], sequence: TokenSequence, drawn: Continuation
    ) -> dict[str, Any]:
        ids = sequence.ids
        last = request.get("echo_last", len(ids) - 1 if request.get("echo") else 0)
        last = min(last, len(ids) - 1)
        echoed = ids[len(ids) - last :]
        end = (min(self.backend.end_ids),) if drawn.finished else ()
        generated = (*drawn.ids, *end)
        tokens = (*echoed, *generated)
        sequence.ids = ids[: len(ids) - last]
        [distributions] = self.backend.score([ScoreQuery(sequence, tokens[:-1])])
        sequence.ids = ids
        rows = [
            self._row(token, distribution, _alternatives(request))
            for token, distribution in zip(tokens, distributions, strict=True)
        ]
        first = ids[: len(ids) - last] if request.get("echo") else ()
        text = self.backend.decode((*echoed, *drawn.ids))
        if request.get("echo"):  # the prompt's first token has nothing before it
            rows.insert(0, self._named(first[0]) | {"logprob": None, "top_logprobs": []})
            text = self.backend.decode(first) + text
        content = {"content": rows}
        choice: dict[str, Any] = {
            "text": text,
            "finish_reason": "stop" if drawn.finished else "length",
            "logprobs": content if request.get("logprobs") is True else _arrays(rows),
            "generated": generated,
        }
        if request.get("return_token_ids"):
            choice |= {"token_ids": list(generated), "prompt_token_ids": list(ids)}
        if request.get("raw_output"):
            choice["raw_output"] = {
                "prompt_token_ids": list(ids),
                "completion": self.backend.decode(drawn.ids),
                "completion_token_ids": list(generated),
                "completion_logprobs": content,
            }
        return choice

    def _row(self, token: int, distribution: TokenLogprobs, count: int) -> dict[str, Any]:
        top = np.argsort(-distribution.logprobs, kind="stable")[:count]
        return self._valued(token, distribution) | {
            "top_logprobs": [self._valued(int(other), distribution) for other in top]
        }

    def _valued(self, token: int, distribution: TokenLogprobs) -> dict[str, Any]:
        return self._named(token) | {"logprob": float(distribution.logprobs[token])}

    def _named(self, token: int) -> dict[str, Any]:
        text = self.backend.decode([token])
        return {"token": text, "token_id": token}


def _prompts(prompt: Any) -> list[Any]:
    """Return the single prompts of a request."""
    several = isinstance(prompt, list) and not isinstance(prompt[0], int)
    return list(prompt) if several else [prompt]


def _alternatives(request: dict[str, Any]) -> int:
    logprobs = request.get("logprobs")
    return request.get("top_logprobs", 0) if logprobs is True else int(logprobs or 0)


def _arrays(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return rows in the legacy shape."""
    return {
        "tokens": [row["token"] for row in rows],
        "token_logprobs": [row["logprob"] for row in rows],
        "token_ids": [row["token_id"] for row in rows],
        "top_logprobs": [
            {other["token"]: other["logprob"] for other in row["top_logprobs"]} or None
            for row in rows
        ],
    }


def _shared(ids: Sequence[int], others: Sequence[int]) -> int:
    """Return how many tokens both begin with."""
    length = 0
    for one, other in zip(ids, others, strict=False):
        if one != other:
            break
        length += 1
    return length
