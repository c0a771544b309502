"""The estimate of a run against what runs really ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import pytest

from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.engine import Engine
from egcfg.estimate import WITHIN, Scoring, estimate_tokens, estimate_unit
from egcfg.interfaces.backend import SampleQuery, ScoreQuery, Usage
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.prompts.chat import ChatPrompt
from egcfg.sandbox import Sandbox
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg_tracers.tracers import FullTracer

# A token is a character here, so these are programs of short lines.
PROGRAMS = (
    "def f(x):\n r = x\n return r\n",
    "def f(x):\n a = x\n b = a\n c = a * b\n d = c\n e = d\n return e\n",
)
SETTINGS = DecodingSettings(gamma=1.0, max_tokens=200, signal_tokens=600)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as opened:
        yield opened


class Counting(ScriptedBackend):
    """Counts as endpoints and local models do: a question is a request that sends its prompts."""

    def score(self, queries: Sequence[ScoreQuery]) -> Any:
        sent = sum(len(query.sequence.ids) + len(query.draft) for query in queries)
        scored = sum(len(query.draft) + 1 for query in queries)
        self.usage += Usage(requests=1, input_tokens=sent, output_tokens=scored)
        return super().score(queries)

    def sample(self, queries: Sequence[SampleQuery]) -> Any:
        sent = sum(len(query.sequence.ids) for query in queries)
        self.usage += Usage(requests=1, input_tokens=sent)
        return super().sample(queries)


def _asked(
    sandbox: Sandbox,
    program: str,
    settings: DecodingSettings,
    scoring: Scoring,
    *,
    remote: bool = True,
) -> tuple[Usage, Usage]:
    """Return what decoding `program` asked for, and what had been expected."""
    answer = program + "```"

    def script(text: str) -> str:
        written = text.rpartition("```python\n")[2]
        return answer[len(written) :] if answer.startswith(written) else ""

    options = ScriptedOptions(script=script, noise=0.02, scores_drafts=scoring is Scoring.LINES)
    problem = Problem(
        task_id="1",
        description="Write a function f(x).",
        entry_point="f",
        visible_tests=[AssertTest("assert f(3) == 9"), AssertTest("assert f(0) == 0")],
    )
    prompt = ChatPrompt(ChatPrompt.Options())
    with Counting(options) as backend:
        tracer = FullTracer(FullTracer.Options())
        Engine(backend, tracer, prompt, sandbox).solve(problem, settings)
        built = prompt.build(problem, backend.render_chat)
        expected = estimate_unit(
            backend.count_tokens(built.unconditional()),
            len(problem.visible_tests),
            settings,
            scoring,
            remote=remote,
        )
    return backend.usage, expected


@pytest.mark.parametrize(
    ("scoring", "changes"),
    [
        (Scoring.LINES, {}),
        (Scoring.LINES, {"candidates": 5, "horizon": None, "refresh": 2}),
        (Scoring.LINES, {"unit": GuidanceUnit.PREFIX}),
        (Scoring.TOKENS, {"candidates": 1, "horizon": 1}),
        (Scoring.TOKENS, {"unit": GuidanceUnit.PREFIX}),
    ],
    ids=str,
)
def test_a_guided_run_asks_about_as_much_as_was_expected(
    sandbox: Sandbox, scoring: Scoring, changes: dict[str, Any]
) -> None:
    settings = attrs.evolve(SETTINGS, **changes)
    runs = [_asked(sandbox, program, settings, scoring) for program in PROGRAMS]
    asked, expected = (sum(part, Usage()) for part in zip(*runs, strict=True))
    for name in ("requests", "input_tokens", "output_tokens"):
        ratio = getattr(expected, name) / getattr(asked, name)
        assert 1 / WITHIN < ratio < WITHIN, (name, asked, expected)


def test_an_unguided_run_of_a_local_model_asks_about_as_much_as_was_expected(
    sandbox: Sandbox,
) -> None:
    settings = attrs.evolve(SETTINGS, gamma=0.0)
    runs = [_asked(sandbox, program, settings, Scoring.LINES, remote=False) for program in PROGRAMS]
    asked, expected = (sum(part, Usage()) for part in zip(*runs, strict=True))
    for name in ("input_tokens", "output_tokens"):
        assert 1 / WITHIN < getattr(expected, name) / getattr(asked, name) < WITHIN, name


def test_what_grows_with_a_setting_grows_in_the_estimate() -> None:
    def tokens(**changes: Any) -> tuple[int, int]:
        settings = attrs.evolve(SETTINGS, **changes)
        usage = estimate_unit(300, 2, settings, Scoring.LINES, remote=True)
        return usage.requests, usage.input_tokens + usage.output_tokens

    assert tokens(gamma=0.0) < tokens()
    assert tokens(candidates=1)[1] < tokens()[1] < tokens(candidates=6)[1]
    assert tokens(horizon=1)[1] < tokens(horizon=3)[1]
    # As far as the candidates reach; behind that there are no drafts.
    assert tokens(refresh=2) < tokens() < tokens(unit=GuidanceUnit.TOKEN)
    assert tokens(max_tokens=20) < tokens()


def test_a_local_model_sends_no_request() -> None:
    local = estimate_unit(300, 2, SETTINGS, Scoring.LINES, remote=False)
    remote = estimate_unit(300, 2, SETTINGS, Scoring.LINES, remote=True)
    assert local.requests == 0 < remote.requests
    assert local.output_tokens < remote.output_tokens


def test_tokens_are_estimated_by_the_length_of_a_text() -> None:
    assert (estimate_tokens(""), estimate_tokens("x"), estimate_tokens("x" * 350)) == (0, 1, 100)
