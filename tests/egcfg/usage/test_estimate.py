"""The estimate of a run against what runs really ask."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import closing
from typing import Any

import attrs
import pytest

from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.engine import Engine
from egcfg.interfaces.backend import Answer, Continuation, Logprobs, SampleRequest, ScoreRequest
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.usage import Usage
from egcfg.sandbox import Sandbox
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg.usage.estimate import estimate_tokens, estimate_unit

# A token is a character here, so these are programs of short lines.
PROGRAMS = (
    "def f(x):\n r = x\n return r\n",
    "def f(x):\n a = x\n b = a\n c = a * b\n d = c\n e = d\n return e\n",
)
WITHIN = {"requests": 2.7, "input_tokens": 3.2, "output_tokens": 2.3}
"""Factors: what was seen, with and without drafts, and little more."""
SETTINGS = DecodingSettings(gamma=1.0, max_tokens=200, signal_tokens=600)
PROBLEM = Problem(
    task_id="1",
    description="Write a function f(x).",
    entry_point="f",
    visible_tests=[AssertTest("assert f(3) == 9"), AssertTest("assert f(0) == 0")],
)


class Counting(ScriptedBackend):
    """Counts as endpoints do: a question is a request that sends its prompts."""

    async def score(self, requests: Sequence[ScoreRequest]) -> Answer[list[list[Logprobs]]]:
        answer = await super().score(requests)
        sent = sum(len(request.ids) + len(request.draft) for request in requests)
        scored = sum(len(request.draft) + 1 for request in requests)
        return Answer(answer.value, Usage(requests=1, input_tokens=sent, output_tokens=scored))

    async def sample(self, requests: Sequence[SampleRequest]) -> Answer[list[list[Continuation]]]:
        answer = await super().sample(requests)
        sent = sum(len(request.ids) for request in requests)
        generated = answer.usage.output_tokens
        return Answer(answer.value, Usage(requests=1, input_tokens=sent, output_tokens=generated))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with closing(Sandbox()) as opened:
        yield opened


async def _asked(
    settings: DecodingSettings, sandbox: Sandbox, *, drafts: bool
) -> tuple[Usage, Usage]:
    """Return what decoding the programs asked for, and what had been expected."""
    asked = expected = Usage()
    for program in PROGRAMS:
        answer = program + "```"

        def script(text: str, answer: str = answer) -> str:
            written = text.rpartition("```python\n")[2]
            return answer[len(written) :] if answer.startswith(written) else ""

        options = ScriptedOptions(script=script, noise=0.02, scores_drafts=drafts)
        async with Engine(backend=Counting(options), sandbox=sandbox) as engine:
            solution = await engine.solve(PROBLEM, settings)
            prompt_tokens = len(engine.prompt(PROBLEM).unconditional().text)
        asked += solution.generation.total_usage
        expected += estimate_unit(prompt_tokens, len(PROBLEM.visible_tests), settings)
    return asked, expected


@pytest.mark.parametrize("drafts", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"candidates": 5, "horizon": None, "signal_interval": 2},
        {"unit": GuidanceUnit.PREFIX},
        {"candidates": 1, "horizon": 1},
        {"gamma": 0.0},
    ],
    ids=str,
)
def test_a_run_asks_about_as_much_as_was_expected(
    run: Callable[[Coroutine[Any, Any, Any]], Any],
    sandbox: Sandbox,
    changes: dict[str, Any],
    drafts: bool,
) -> None:
    settings = attrs.evolve(SETTINGS, **changes)
    asked, expected = run(_asked(settings, sandbox, drafts=drafts))
    for name, factor in WITHIN.items():
        ratio = getattr(expected, name) / getattr(asked, name)
        assert 1 / factor < ratio < factor, (name, asked, expected)


def test_what_grows_with_a_setting_grows_in_the_estimate() -> None:
    def tokens(**changes: Any) -> tuple[int, int]:
        usage = estimate_unit(300, 2, attrs.evolve(SETTINGS, **changes))
        return usage.requests, usage.input_tokens + usage.output_tokens

    assert tokens(gamma=0.0) < tokens()
    assert tokens(candidates=1)[1] < tokens()[1] < tokens(candidates=6)[1]
    assert tokens(horizon=1)[1] < tokens(horizon=3)[1]
    assert tokens(signal_interval=2) < tokens() < tokens(unit=GuidanceUnit.TOKEN)
    assert tokens(max_tokens=20) < tokens()


def test_tokens_are_estimated_by_the_length_of_a_text() -> None:
    assert (estimate_tokens(""), estimate_tokens("x"), estimate_tokens("x" * 350)) == (0, 1, 100)
