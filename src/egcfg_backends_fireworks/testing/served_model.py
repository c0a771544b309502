"""Any backend as a service: answers Fireworks' requests, or those of another kind of server."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from itertools import chain
from typing import Any

import numpy as np
from attrs import define, field, frozen

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
from egcfg_backends_fireworks.wire import Prefill

__all__ = ["ServedModel", "Shape"]

KEPT = 32
"""Prompts kept per cache key."""
COLDEST = 1e-3
"""The temperature that stands for 0 where it shows."""
CUT = -9999.0
"""The log-probability of what is not in the nucleus, as vLLM has it: JSON knows no infinity."""
NO_ROUTE = Answer(b'{"error": {"message": "no such route"}}', 404)


@frozen(kw_only=True)
class Shape:
    """What one kind of server takes and tells, as its documentation or source has it.

    Attributes:
        completions: how ``logprobs`` is to be asked for on the completions route: ``"number"``,
            ``"boolean"``, ``"either"``; ``"coerced"`` takes true for 1; ``"ignored"`` says nothing;
            empty: there is no such route.
        chat: the same for the chat route, where it is never a number.
        most_alternatives: what may be asked for per token.
        most_choices: what ``n`` may be at most.
        prefill: how an answer's beginning is continued on the chat route; None: not at all.
        repeats: whether the answer repeats that beginning.
        trims: whether that beginning loses the white space at its end.
        names: how tokens are named: ``"id"``, ``"text"``, or ``"raw"`` (the vocabulary's own
            spelling, the likeliest token's row in any token's place).
        takes_ids: whether prompts may be token ids; ``"mixed"``: after a text, too.
        several: whether ``n`` and several prompts are taken.
        takes_bias: whether ``logit_bias`` is taken: it decides what is generated, greedily, and
            does not show in the log-probabilities.
        echoes: whether prompts are echoed.
        shifts: whether each echoed token has the log-probabilities of the one before.
        raw: whether log-probabilities are the model's own, not what temperature and top-p made of
            them.
        shows_end: whether the end of a text has a row and an id.
        counts_first: whether the usage counts the first prompt and choice alone, as llama.cpp's.
        routes: whether there are routes to tokenize and detokenize, and for templates.
        refuses: from a request to why it is refused; empty: it is not.
        refused: the HTTP status of a refusal; 422 has TGI's body, others OpenAI's.
        breaks: whether a request that is refused loses its connection instead.
    """

    completions: str = "either"
    chat: str = ""
    most_alternatives: int = 5
    most_choices: int = 128
    prefill: Prefill | None = None
    repeats: bool = False
    trims: bool = False
    names: str = "id"
    takes_ids: str = "ids"
    several: bool = True
    takes_bias: bool = False
    echoes: bool = True
    shifts: bool = False
    raw: bool = True
    shows_end: bool = True
    counts_first: bool = False
    routes: bool = False
    refuses: Callable[[dict[str, Any]], str] = lambda _: ""
    refused: int = 400
    breaks: bool = False


@define
class ServedModel:
    """Answers requests by asking a dense backend, one request at a time.

    The backend is opened at the first request, on an event loop that is this object's own.

    Prompts are text or token ids, one or several; ``n``, ``echo`` and ``echo_last``, both shapes of
    log-probabilities, ``token_ids`` and ``prompt_token_ids``, ``raw_output``, and a usage that
    tells how much of the prompts was cached: prefixes are found again under the same
    ``prompt_cache_key``.

    Attributes:
        backend: the model.
        shape: what kind of server it is; by default Fireworks.
        requests: every request so far.
    """

    backend: LogprobBackend
    shape: Shape = field(factory=Shape)
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
        """Answer one completion request."""
        if self.shape.completions == "coerced":
            request = {**request, "logprobs": int(request["logprobs"])}
        return self._answer(request, self._completion) if self.shape.completions else NO_ROUTE

    def others(self, path: str, request: dict[str, Any]) -> Answer:
        """Answer a request to another path."""
        routes = {
            "/tokenize": self._tokenized,
            "/detokenize": self._detokenized,
            "/apply-template": self._rendered,
        }
        if path == "/v1/chat/completions" and self.shape.chat:
            return self._answer(request, self._chat_completion)
        if path in routes and self.shape.routes:
            return self._answer(request, routes[path])
        return NO_ROUTE

    def _answer(
        self,
        request: dict[str, Any],
        answer: Callable[[dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]],
    ) -> Answer:
        with self._lock:
            self.requests.append(request)
            refusal = self._refusal(request)
            if refusal and self.shape.breaks:
                return Answer(b"", fault="drop")
            if not refusal:
                try:
                    answered = self._loop.run_until_complete(self._opening(answer(request)))
                    return Answer(json.dumps(answered).encode())
                except ContextOverflowError as error:
                    refusal = (
                        f"The prompt is too long: {error.needed}, "
                        f"model maximum context length: {error.available}"
                    )
        if self.shape.refused == 422:
            told: dict[str, Any] = {"error": refusal, "error_type": "validation"}
        else:
            told = {"error": {"message": refusal}}
        return Answer(json.dumps(told).encode(), self.shape.refused)

    async def _opening(self, work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
        if not self._opened:
            await _value(self.backend.open())
            self._opened = True
        return await work

    def _refusal(self, request: dict[str, Any]) -> str:
        shape = self.shape
        form = shape.chat if "messages" in request else shape.completions
        logprobs = request.get("logprobs")
        if form == "boolean" and type(logprobs) is int:
            return "logprobs must be a boolean"
        if form == "number" and type(logprobs) is bool:
            return "logprobs must be an integer"
        if form != "ignored" and _alternatives(request) > shape.most_alternatives:
            return f"logprobs must be at most {shape.most_alternatives}"
        if not 1 <= request.get("n", 1) <= shape.most_choices:
            return f"n must be between 1 and {shape.most_choices}"
        if request.get("logprob_token_ids") or (request.get("logit_bias") and not shape.takes_bias):
            return "logit_bias is not taken"
        prompt = request.get("prompt", "")
        if isinstance(prompt, list) and (
            shape.takes_ids == ""
            or (shape.takes_ids != "mixed" and len({type(part) for part in prompt}) > 1)
        ):
            return "prompt must be text"
        return shape.refuses(request)

    async def _tokenized(self, request: dict[str, Any]) -> dict[str, Any]:
        if "messages" in request:
            return {"tokens": []}
        return {"tokens": list(await self._ids(request["content"]))}

    async def _detokenized(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"content": await self._text(request["tokens"])}

    async def _rendered(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"prompt": _template(request["messages"])}

    async def _chat_completion(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a chat: as the completion of its text, with other names."""
        *messages, last = request["messages"]
        told = {
            Prefill.CONTINUE: request.get("continue_final_message") is True,
            Prefill.LAST: last["role"] == "assistant",
            Prefill.PREFIX: last.get("prefix") is True,
            Prefill.RESPONSE_PREFIX: "response_prefix" in request,
        }
        prefix = ""
        if self.shape.prefill is Prefill.RESPONSE_PREFIX and told[Prefill.RESPONSE_PREFIX]:
            prefix, messages = request["response_prefix"], [*messages, last]
        elif self.shape.prefill is not None and told[self.shape.prefill]:
            prefix = last["content"]
        else:
            messages = [*messages, last]
        sent = prefix.rstrip() if self.shape.trims else prefix
        completion = await self._completion(
            {**request, "prompt": _template(messages) + sent, "prompt_cache_key": ""}
        )
        for choice in completion["choices"]:
            repeated = prefix if self.shape.repeats else ""
            choice["message"] = {"role": "assistant", "content": repeated + choice.pop("text")}
        return completion

    async def _completion(self, request: dict[str, Any]) -> dict[str, Any]:
        prompts = [await self._ids(prompt) for prompt in _prompts(request["prompt"])]
        cached = self._cached(prompts, request.get("prompt_cache_key", ""))
        params = SamplingParams(
            temperature=request.get("temperature", 1.0),
            top_p=request.get("top_p", 1.0),
            max_tokens=request["max_tokens"],
            seed=request.get("seed", 0),
        )
        count = request.get("n", 1) if self.shape.several else 1
        prompts = prompts if self.shape.several else prompts[:1]
        wanted = [SampleRequest(ids, count, params) for ids in prompts]
        if bias := request.get("logit_bias"):
            sampled = [[await self._biased(each, bias)] * count for each in wanted]
        else:
            sampled = (await _value(self.backend.sample(wanted))).value
        choices: list[dict[str, Any]] = []
        for ids, continuations in zip(prompts, sampled, strict=True):
            for continuation in continuations:
                choice = await self._choice(request, ids, continuation)
                choices.append({"index": len(choices), **choice})
        generated = [len(choice.pop("generated")) for choice in choices]
        counted = slice(1 if self.shape.counts_first else None)
        sent = sum(map(len, prompts[counted]))
        return {
            "id": "cmpl-1",
            "object": "text_completion",
            "model": request["model"],
            "choices": choices,
            "usage": {
                "prompt_tokens": sent,
                "completion_tokens": sum(generated[counted]),
                "total_tokens": sent,
                "prompt_tokens_details": {"cached_tokens": sum(cached[counted])},
            },
        }

    async def _ids(self, prompt: str | list[int | str]) -> tuple[int, ...]:
        if not isinstance(prompt, str):
            parts = [await self._ids(part) if isinstance(part, str) else (part,) for part in prompt]
            return tuple(chain.from_iterable(parts))
        ids: tuple[int, ...] = (await _value(self.backend.encode(TextPrompt((prompt,))))).value
        return ids

    async def _biased(self, request: SampleRequest, bias: dict[str, float]) -> Continuation:
        """Continue a prefix by the likeliest tokens under a bias of logits."""
        ids: tuple[int, ...] = ()
        finished = False
        while len(ids) < request.params.max_tokens and not finished:
            [scored] = (await _value(self.backend.score([ScoreRequest(request.ids + ids)]))).value
            values = np.array(scored[0].values)
            for token, added in bias.items():
                values[int(token)] += added
            finished = int(values.argmax()) in self.backend.end_ids
            ids += () if finished else (int(values.argmax()),)
        return Continuation(ids=ids, text="", finished=finished)

    def _cached(self, prompts: Sequence[tuple[int, ...]], key: str) -> list[int]:
        """Return how many tokens of each prompt are kept under their key, and keep them."""
        kept = self._kept.setdefault(key, deque(maxlen=KEPT))
        shared = [max((_shared(ids, other) for other in kept), default=0) for ids in prompts]
        kept.extend(prompts)
        return [min(count, len(ids) - 1) for count, ids in zip(shared, prompts, strict=True)]

    async def _choice(
        self, request: dict[str, Any], ids: tuple[int, ...], sampled: Continuation
    ) -> dict[str, Any]:
        last = request.get("echo_last", len(ids) - 1 if request.get("echo") else 0)
        last = min(last, len(ids) - 1) if self.shape.echoes else 0
        before, echoed = ids[: len(ids) - last], ids[len(ids) - last :]
        end = (min(self.backend.end_ids),) if sampled.finished and self.shape.shows_end else ()
        generated = (*sampled.ids, *end)
        tokens = (*echoed, *generated)
        late = last if self.shape.shifts else 0
        ends = [len(before) + place - (place < late) for place in range(len(tokens))]
        prefixes = [ScoreRequest((before + tokens)[:end]) for end in ends]
        scored = await _value(self.backend.score(prefixes))
        rows = [
            await self._row(token, self._shown(distribution, request), _alternatives(request))
            for token, [distribution] in zip(tokens, scored.value, strict=True)
        ]
        text = await self._text((*echoed, *sampled.ids))
        if request.get("echo") and self.shape.echoes:
            # The prompt's first token has nothing before it.
            rows.insert(0, await self._named(ids[0]) | {"logprob": None, "top_logprobs": []})
            text = await self._text(before) + text
        content = {"content": rows}
        choice: dict[str, Any] = {
            "text": text,
            "finish_reason": "stop" if sampled.finished else "length",
            "logprobs": content if request.get("logprobs") is True else _arrays(rows),
            "generated": generated,
        }
        form = self.shape.chat if "messages" in request else self.shape.completions
        if form == "ignored" or not _alternatives(request):
            choice["logprobs"] = None
        if request.get("return_token_ids") and self.shape.names == "id":
            choice |= {"token_ids": list(generated), "prompt_token_ids": list(ids)}
        if request.get("raw_output"):
            choice["raw_output"] = {
                "prompt_token_ids": list(ids),
                "completion": await self._text(sampled.ids),
                "completion_token_ids": list(generated),
                "completion_logprobs": content,
            }
        return choice

    def _shown(self, distribution: Logprobs, request: dict[str, Any]) -> Logprobs:
        """Return the distribution that is told: the model's own, or the one it is sampled from."""
        if self.shape.raw:
            return distribution
        values = np.asarray(distribution.values) / max(request.get("temperature", 1.0), COLDEST)
        values -= np.logaddexp.reduce(values)
        order = np.argsort(-values, kind="stable")
        shares = np.exp(values[order])
        values[order[np.cumsum(shares) - shares >= request.get("top_p", 1.0)]] = CUT
        return Logprobs(values)

    async def _row(self, token: int, distribution: Logprobs, count: int) -> dict[str, Any]:
        order = np.argsort(-np.asarray(distribution.values), kind="stable")[:count]
        top = order if distribution.ids is None else distribution.ids[order]
        listed = [await self._valued(int(other), distribution) for other in top]
        if self.shape.names == "raw":  # in any order, and the first of them in the token's place
            listed.reverse()
            return listed[0] | {"top_logprobs": listed} if listed else {}
        return await self._valued(token, distribution) | {"top_logprobs": listed}

    async def _valued(self, token: int, distribution: Logprobs) -> dict[str, Any]:
        return await self._named(token) | {"logprob": distribution.logprob(token)}

    async def _named(self, token: int) -> dict[str, Any]:
        text = await self._text((token,))
        if self.shape.names == "raw":
            return {"token": text.replace(" ", "\u0120").replace("\n", "\u010a"), "id": token}
        if self.shape.names == "text":
            return {"token": text, "bytes": list(text.encode())}
        return {"token": text, "token_id": token}

    async def _text(self, ids: Sequence[int]) -> str:
        text: str = (await _value(self.backend.decode(ids))).value
        return text


async def _value(answer: Any) -> Any:
    """Return what a method of a backend answers, whether it is a coroutine or not."""
    return await answer if inspect.isawaitable(answer) else answer


def _prompts(prompt: Any) -> list[Any]:
    """Return the single prompts of a request."""
    several = isinstance(prompt, list) and not any(isinstance(part, int) for part in prompt)
    return list(prompt) if several else [prompt]


def _template(messages: Sequence[dict[str, Any]]) -> str:
    said = "".join(f"<{m['role']}>\n{m['content']}\n" for m in messages)
    return f"{said}<assistant>\n"


def _alternatives(request: dict[str, Any]) -> int:
    logprobs = request.get("logprobs")
    return request.get("top_logprobs", 0) if logprobs is True else int(logprobs or 0)


def _arrays(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return rows in the legacy shape."""
    named = rows and "token_id" in rows[0]
    ids = {"token_ids": [row["token_id"] for row in rows]} if named else {}
    return ids | {
        "tokens": [row["token"] for row in rows],
        "token_logprobs": [row["logprob"] for row in rows],
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
