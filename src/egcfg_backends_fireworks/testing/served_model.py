"""Any backend as a service: answers Fireworks' completion requests, field by field."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import define, field

from egcfg.errors import ContextOverflowError
from egcfg.interfaces.backend import (
    Continuation,
    LogprobBackend,
    Logprobs,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
)
from egcfg.interfaces.prompt import TextPrompt
from egcfg_backends_fireworks.testing.loopback import Answer

__all__ = ["ServedModel"]

KEPT = 32
"""Prompts kept per cache key."""


@define
class ServedModel:
    """Answers completion requests by asking a dense backend, one request at a time.

    The backend is opened at the first request, on an event loop that is this object's own.

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
    _kept: dict[str, deque[tuple[int, ...]]] = field(factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.new_event_loop, init=False, repr=False)
    _opened: bool = field(default=False, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        weakref.finalize(self, self._loop.close)

    def close(self) -> None:
        """Close the backend."""
        with self._lock:
            self._loop.run_until_complete(_value(self.backend.close()))

    def __call__(self, request: dict[str, Any]) -> Answer:
        """Answer one request."""
        with self._lock:
            self.requests.append(request)
            refusal = self._refusal(request)
            if not refusal:
                try:
                    completion = self._loop.run_until_complete(self._completion(request))
                    return Answer(json.dumps(completion).encode())
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

    async def _completion(self, request: dict[str, Any]) -> dict[str, Any]:
        if not self._opened:
            await _value(self.backend.open())
            self._opened = True
        prompts = [await self._ids(prompt) for prompt in _prompts(request["prompt"])]
        cached = self._cached(prompts, request.get("prompt_cache_key", ""))
        params = SamplingParams(
            temperature=request.get("temperature", 1.0),
            top_p=request.get("top_p", 1.0),
            max_tokens=request["max_tokens"],
            seed=request.get("seed", 0),
        )
        wanted = [SampleRequest(ids, request.get("n", 1), params) for ids in prompts]
        sampled = (await _value(self.backend.sample(wanted))).value
        choices: list[dict[str, Any]] = []
        for ids, continuations in zip(prompts, sampled, strict=True):
            for continuation in continuations:
                choice = await self._choice(request, ids, continuation)
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

    async def _ids(self, prompt: str | list[int]) -> tuple[int, ...]:
        if not isinstance(prompt, str):
            return tuple(prompt)
        ids: tuple[int, ...] = (await _value(self.backend.encode(TextPrompt((prompt,))))).value
        return ids

    def _cached(self, prompts: Sequence[tuple[int, ...]], key: str) -> int:
        """Return how many tokens of the prompts are kept under their key, and keep them."""
        kept = self._kept.setdefault(key, deque(maxlen=KEPT))
        shared = [max((_shared(ids, other) for other in kept), default=0) for ids in prompts]
        kept.extend(prompts)
        return sum(min(count, len(ids) - 1) for count, ids in zip(shared, prompts, strict=True))

    async def _choice(
        self, request: dict[str, Any], ids: tuple[int, ...], sampled: Continuation
    ) -> dict[str, Any]:
        last = request.get("echo_last", len(ids) - 1 if request.get("echo") else 0)
        last = min(last, len(ids) - 1)
        before, echoed = ids[: len(ids) - last], ids[len(ids) - last :]
        end = (min(self.backend.end_ids),) if sampled.finished else ()
        generated = (*sampled.ids, *end)
        tokens = (*echoed, *generated)
        scored = await _value(self.backend.score([ScoreRequest(before, tokens[:-1])]))
        rows = [
            await self._row(token, distribution, _alternatives(request))
            for token, distribution in zip(tokens, scored.value[0], strict=True)
        ]
        text = await self._text((*echoed, *sampled.ids))
        if request.get("echo"):  # the prompt's first token has nothing before it
            rows.insert(0, await self._named(ids[0]) | {"logprob": None, "top_logprobs": []})
            text = await self._text(before) + text
        content = {"content": rows}
        choice: dict[str, Any] = {
            "text": text,
            "finish_reason": "stop" if sampled.finished else "length",
            "logprobs": content if request.get("logprobs") is True else _arrays(rows),
            "generated": generated,
        }
        if request.get("return_token_ids"):
            choice |= {"token_ids": list(generated), "prompt_token_ids": list(ids)}
        if request.get("raw_output"):
            choice["raw_output"] = {
                "prompt_token_ids": list(ids),
                "completion": await self._text(sampled.ids),
                "completion_token_ids": list(generated),
                "completion_logprobs": content,
            }
        return choice

    async def _row(self, token: int, distribution: Logprobs, count: int) -> dict[str, Any]:
        top = np.argsort(-np.asarray(distribution.values), kind="stable")[:count]
        return await self._valued(token, distribution) | {
            "top_logprobs": [await self._valued(int(other), distribution) for other in top]
        }

    async def _valued(self, token: int, distribution: Logprobs) -> dict[str, Any]:
        return await self._named(token) | {"logprob": float(distribution.values[token])}

    async def _named(self, token: int) -> dict[str, Any]:
        return {"token": await self._text((token,)), "token_id": token}

    async def _text(self, ids: Sequence[int]) -> str:
        text: str = (await _value(self.backend.decode(ids))).value
        return text


async def _value(answer: Any) -> Any:
    """Return what a method of a backend answers, whether it is a coroutine or not."""
    return await answer if inspect.isawaitable(answer) else answer


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
