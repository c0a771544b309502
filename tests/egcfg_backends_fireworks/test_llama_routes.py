"""Both routes of the real llama.cpp server: the same texts as the local model's, and the counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from egcfg.decoding.settings import DecodingSettings
from egcfg.engine import Engine
from egcfg.interfaces.backend import ScoreRequest
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt, Prompt
from egcfg.interfaces.solution import Generation
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.services import OpenAIBackend

pytestmark = [pytest.mark.server, pytest.mark.model]
ROUTES = ("completions", "chat")
CHAT = (ChatMessage("user", "Write a Python function that adds two numbers."),)


@pytest.fixture(autouse=True)
def _without_keys(no_keys: None) -> None:
    """No key of the user's goes out."""


def backend_of(address: str, route: str) -> OpenAIBackend:
    return OpenAIBackend(EndpointOptions(model="smollm2", base_url=f"{address}/v1", route=route))


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return list(create(Kind.DATASET, "quickstart").problems())[:3]


def engine_of(backend: Any) -> Engine:
    prompt = create(Kind.PROMPT, "chat")
    return Engine(backend=backend, tracer=create(Kind.TRACER, "minimal"), prompt=prompt)


async def generations(engine: Engine, problems: list[Problem], gamma: float) -> list[Generation]:
    settings = DecodingSettings(gamma=gamma, max_tokens=48)
    async with engine:
        return [(await engine.solve(problem, settings)).generation for problem in problems]


def test_without_guidance_texts_are_those_of_the_local_backend_up_to_near_ties(
    llama_server: str, problems: list[Problem], run: Any
) -> None:
    """The server works with 8-bit activations: it may turn a choice that is close to another."""
    hf = pytest.importorskip("egcfg_backends_hf.backend", reason="transformers is not installed")
    served = [engine_of(backend_of(llama_server, route)) for route in ROUTES]
    told = [run(generations(engine, problems, 0.0)) for engine in served]

    settings = DecodingSettings(gamma=0, max_tokens=48)

    async def compare() -> None:
        async with engine_of(hf.HFBackend(hf.HFBackend.Options())) as engine:
            backend = await engine.open()
            for problem, *others in zip(problems, *told, strict=True):
                here = (await engine.solve(problem, settings)).generation
                for there in {other.response for other in others} - {here.response}:
                    gap = await gap_where_they_part(backend, engine.prompt(problem), here, there)
                    assert 0 <= gap < 0.7, problem.task_id

    run(compare())


async def gap_where_they_part(backend: Any, prompt: Prompt, here: Generation, there: str) -> float:
    """Return by how much a model prefers its own next token where another response leaves its."""
    answer = there.removeprefix(prompt.response_prefix)
    texts = [(await backend.decode(here.ids[:n])).value for n in range(len(here.ids))]
    same = max(n for n, text in enumerate(texts) if answer.startswith(text))
    before = (await backend.encode(prompt.unconditional())).value + here.ids[:same]
    [[dense]] = (await backend.score([ScoreRequest(before)])).value
    rest = answer[len(texts[same]) :]
    for token in map(int, np.argsort(np.asarray(dense.values))[::-1][:50]):
        if rest.startswith((await backend.decode([token])).value):
            gap: float = dense.logprob(here.ids[same]) - dense.logprob(token)
            return gap
    pytest.fail(f"{rest!r} begins with none of the likeliest tokens")


@pytest.mark.parametrize(
    "text", ["", "def add", "def add(a, b):\n", "def add(a, b):\n    ", "x = "]
)
def test_distributions_after_an_answers_beginning_are_those_of_raw_completions(
    llama_server: str, opened: Any, text: str
) -> None:
    told = []
    for route in ROUTES:
        with opened(backend_of(llama_server, route)) as backend:
            ids = backend.encode(ChatPrompt(CHAT, f"```python\n{text}"))
            [[found]] = backend.score([ScoreRequest(ids)])
            named = {
                backend.decode([int(t)]): v for t, v in zip(found.ids, found.values, strict=True)
            }
            told.append((backend.decode([found.argmax()]), named))
    (first, raw), (second, chat) = told
    assert first == second
    shared = raw.keys() & chat.keys()
    assert len(shared) >= 0.9 * len(raw)
    assert np.allclose([raw[t] for t in shared], [chat[t] for t in shared], atol=0.05)


@pytest.mark.parametrize("route", ROUTES)
def test_a_line_takes_few_requests_all_of_them_counted(
    llama_server: str, problems: list[Problem], route: str, run: Any
) -> None:
    [found] = run(generations(engine_of(backend_of(llama_server, route)), problems[:1], 1.0))
    lines = found.response.count("\n") + 1
    # About one; about four where each token is asked for alone.
    assert found.total_usage.requests <= 3 * lines
