"""Requests per generated line of code, for each kind of server.

    python bench/endpoint_requests.py [--gamma 0.5 1 1.5 3] [--kind llama.cpp chat] [--real]

Servers are played on loopback, each in the shape that its documentation or source has, over a model
of words that follows a script: 12 tasks of seven lines, two tokens of which are others where the
model sees a signal. With ``--real`` the embedded model writes, behind llama.cpp's own server, and
the tasks are those of the data set quickstart. Every request is counted, those of the probe apart.
*Changed* are the tokens that guidance changed.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from egcfg.decoding.feedback import Feedback
from egcfg.decoding.loop import decode
from egcfg.decoding.settings import DecodingSettings
from egcfg.interfaces.backend import (
    Answer,
    Capabilities,
    Continuation,
    LogprobBackend,
    Logprobs,
    SampleRequest,
    ScoreRequest,
)
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.prompt import ChatPrompt, Prompt, TextPrompt
from egcfg.interfaces.solution import Generation
from egcfg.interfaces.usage import Usage
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox
from egcfg.usage.model import Model
from egcfg_backends_fireworks.endpoint import EndpointBackend
from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.services import FireworksBackend, OpenAIBackend
from egcfg_backends_fireworks.testing import LoopbackServer, ServedModel, Shape, llama_server
from egcfg_backends_fireworks.vocabulary import PROMPT_PIECE
from egcfg_backends_fireworks.wire import Prefill
from egcfg_backends_hf.loading.source import find_model

GAMMAS = (0.5, 1.0, 1.5, 3.0)
PATIENCE = {"timeout_s": 3600.0, "attempt_timeout_s": 3600.0, "fresh": True}
TASKS = 12
WORDS = 1024
PREFIX = "```python\n"
PROGRAM = """\
def f(x):
    total = x {sign} {number}
    for i in range({number}):
        total = total {sign} i
    if total < 0:
        return 0
    return total
```
"""


class WordModel(LogprobBackend):
    """A model whose tokens are words, and which writes the programs of the tasks."""

    def __init__(self) -> None:
        self._words = [""]  # the first is the end
        self._ids = {"": 0}
        self._known: dict[tuple[int, ...], NDArray[np.float64]] = {}
        # What it writes hangs on the ids of words: they are the same whatever it was asked before.
        for sign, number in product("+-", range(1, TASKS + 1)):
            for word in PROMPT_PIECE.findall(PROGRAM.format(sign=sign, number=number)):
                self._id(word)

    @property
    def model_name(self) -> str:
        """Always ``words``."""
        return "words"

    @property
    def capabilities(self) -> Capabilities:
        """Of a dense model."""
        return Capabilities()

    @property
    def end_ids(self) -> frozenset[int]:
        """The end's."""
        return frozenset({0})

    async def encode(self, prompt: TextPrompt | ChatPrompt) -> Answer[tuple[int, ...]]:
        """Return the ids of the words."""
        words = PROMPT_PIECE.findall(prompt.text)
        return Answer(tuple(map(self._id, words)))

    async def decode(self, ids: Sequence[int]) -> Answer[str]:
        """Join the words."""
        return Answer(self._text(ids))

    async def count_tokens(self, text: str) -> Answer[int]:
        """Count the words."""
        return Answer(len(PROMPT_PIECE.findall(text)))

    async def score(self, requests: Sequence[ScoreRequest]) -> Answer[list[list[Logprobs]]]:
        """Return the distributions after prefixes, which come without drafts."""
        return Answer([[Logprobs(np.log(self._shares(request.ids)))] for request in requests])

    async def sample(self, requests: Sequence[SampleRequest]) -> Answer[list[list[Continuation]]]:
        """Return the continuations of each request."""
        return Answer([[self._sampled(r, number) for number in range(r.count)] for r in requests])

    def _sampled(self, request: SampleRequest, number: int) -> Continuation:
        params = request.params
        generator = np.random.default_rng([params.seed, number])
        ids: tuple[int, ...] = ()
        while len(ids) < params.max_tokens:
            shares = self._shares(request.ids + ids)
            token = int(shares.argmax())
            if params.temperature > 0:
                weights = shares ** (1 / params.temperature)
                token = int(generator.choice(WORDS, p=weights / weights.sum()))
            if token == 0:
                return Continuation(ids=ids, text=self._text(ids), finished=True)
            ids += (token,)
        return Continuation(ids=ids, text=self._text(ids))

    def _id(self, word: str) -> int:
        if word not in self._ids:
            self._ids[word] = len(self._words)
            self._words.append(word)
        return self._ids[word]

    def _text(self, ids: Sequence[int]) -> str:
        words = self._words
        return "".join(words[token] if token < len(words) else f"<{token}>" for token in ids)

    def _shares(self, ids: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the probability of each word after `ids`."""
        if ids not in self._known:
            self._known[ids] = self._computed(self._text(ids))
        return self._known[ids]

    def _computed(self, text: str) -> NDArray[np.float64]:
        guided, number = "Signal:" in text, text.rpartition("Task ")[2].partition(".")[0]
        written = text.rpartition(PREFIX)[2]
        # What hardly ever comes is as rare with a signal as without: else a large gamma chooses it.
        key = f"{number} {written}".encode()
        seed = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest())
        shares = 0.02 * np.random.default_rng(seed).dirichlet(np.full(WORDS, 0.05)) + 1e-9
        program = PROGRAM.format(sign="+" if guided else "-", number=number)
        left = program[len(written) :] if number.isdigit() else "x"
        [*words] = PROMPT_PIECE.findall(left)[:1]
        word = self._id(words[0] if words else "")
        if words and words[0] in "+-":
            shares[self._id("-" if guided else "+")] += 0.08 if guided else 0.3
        shares[word] += 1.0 - shares.sum()
        return shares / shares.sum()


@frozen
class Kindred:
    """A kind of server.

    Attributes:
        name: as the table has it.
        shape: how it is played.
        options: the client's.
    """

    name: str
    shape: Shape
    options: dict[str, Any] = field(factory=dict)

    @property
    def chats(self) -> bool:
        """Whether it is asked on the chat route."""
        return self.shape.completions in ("", "ignored") or self.options.get("route") == "chat"


def _chat(**more: Any) -> Shape:
    told = {"completions": "ignored", "chat": "boolean", "prefill": Prefill.LAST, "takes_ids": ""}
    return Shape(**told | {"most_alternatives": 20, "names": "text", "echoes": False} | more)


LLAMA = Shape(
    completions="boolean",  # its rows have ids, which those asked for by number would lack here
    chat="boolean",
    most_alternatives=1000,
    prefill=Prefill.CONTINUE,
    repeats=True,
    takes_ids="mixed",
    echoes=False,
    routes=True,
)
KINDS = (
    Kindred("llama.cpp, completions", LLAMA),
    Kindred("llama.cpp, chat", LLAMA, {"route": "chat"}),
    Kindred("Fireworks: ids, echo, batches", Shape()),
    Kindred(
        "vLLM: ids, batches",
        Shape(completions="boolean", most_alternatives=20, routes=True, echoes=False),
    ),
    Kindred("vLLM, gateways: chat, n", _chat()),
    Kindred("Ollama, DeepSeek: chat", _chat(several=False)),
    Kindred(
        "mlx-lm: text, one prompt",
        _chat(completions="boolean", chat="", most_alternatives=11, several=False),
        {"route": "completions"},
    ),
)


@contextmanager
def _played(kind: Kindred, model: WordModel) -> Iterator[EndpointBackend]:
    """Give a backend in front of one kind of server."""
    options: dict[str, Any] = {"model": "m", **PATIENCE, **kind.options}
    served = ServedModel(model, kind.shape)
    with LoopbackServer(served, others=served.others) as server:
        if kind.name.startswith("Fireworks"):
            yield FireworksBackend(EndpointOptions(base_url=server.address, **options))
        else:
            yield OpenAIBackend(EndpointOptions(base_url=f"{server.address}/v1", **options))


def _scripted_tasks(*, chat: bool) -> Iterator[tuple[Problem, Prompt]]:
    for number in range(1, TASKS + 1):
        test = AssertTest(f"assert f({number}) >= {number}")
        task = f"Task {number}."
        yield (
            Problem(task_id=task, description=task, entry_point="f", visible_tests=[test]),
            Prompt(
                before=f"{task}\n",
                after="Answer:\n",
                chat=chat,
                signal_header="Signal:\n",
                response_prefix=PREFIX,
            ),
        )


def _real_tasks() -> Iterator[tuple[Problem, Prompt]]:
    for problem in list(create(Kind.DATASET, "quickstart").problems())[:TASKS]:
        yield problem, create(Kind.PROMPT, "chat").build(problem)


async def _row(
    backend: EndpointBackend, tasks: Iterator[tuple[Problem, Prompt]], gamma: float
) -> str:
    probe = (await backend.open()).requests
    lines = changed = 0
    spent = Usage()
    try:
        async with Sandbox() as sandbox:
            for problem, worded in tasks:
                generation = await _solved(backend, sandbox, problem, worded, gamma)
                lines += generation.response.count("\n") + 1
                changed += generation.tokens_changed
                spent += generation.total_usage
    finally:
        await backend.close()
    each = (changed / lines, probe, spent.requests / lines, spent.output_tokens / lines)
    return "{:6d}{:9.2f}{:7d}{:10.2f}{:9.0f}".format(lines, *each)


async def _solved(
    backend: EndpointBackend, sandbox: Sandbox, problem: Problem, worded: Prompt, gamma: float
) -> Generation:
    tracer = OpenComponent(Kind.TRACER, create(Kind.TRACER, "minimal"), "tracer minimal")
    model = Model(OpenComponent(Kind.BACKEND, backend, "the endpoint"), problem.task_id)
    feedback = Feedback(tracer, sandbox, model)
    rule = OpenComponent(Kind.GUIDANCE, create(Kind.GUIDANCE, "cfg"), "the rule")
    settings = DecodingSettings(gamma=gamma, max_tokens=96)
    *_, last = [s async for s in decode(model, feedback, rule, problem, worded, settings)]
    assert isinstance(last, Generation)
    return last


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gamma", type=float, nargs="+", default=GAMMAS)
    parser.add_argument("--kind", nargs="+", default=[""], help="parts of names")
    parser.add_argument("--real", action="store_true", help="llama.cpp's own server")
    arguments = parser.parse_args()
    print(f"{'per line of code':30}gamma {'lines':>6}{'changed':>9}{'probe':>7}", end="")
    print(f"{'requests':>10}{'tokens':>9}")
    kinds = [kind for kind in KINDS if any(part in kind.name for part in arguments.kind)]
    if not arguments.real:
        model = WordModel()
        for gamma, kind in product(arguments.gamma, kinds):
            with _played(kind, model) as backend:
                row = asyncio.run(_row(backend, _scripted_tasks(chat=kind.chats), gamma))
            print(f"{kind.name:30}{gamma:5}{row}", flush=True)
        return
    with llama_server(Path(find_model(None).location)) as address:
        for kind, gamma in product(kinds[:2], arguments.gamma):
            options = {"model": "m", "base_url": f"{address}/v1", **PATIENCE, **kind.options}
            row = asyncio.run(_row(OpenAIBackend(EndpointOptions(**options)), _real_tasks(), gamma))
            print(f"{kind.name:30}{gamma:5}{row}", flush=True)


if __name__ == "__main__":
    main()
