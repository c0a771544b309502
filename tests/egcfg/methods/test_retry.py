"""retry: whole answers, led away from the programs that failed before them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from attrs import evolve

from egcfg.config import RunConfig
from egcfg.engine import Engine
from egcfg.errors import CapabilityError
from egcfg.interfaces.backend import Answer
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.solution import LineStep, Solution, Stage
from egcfg.interfaces.usage import Usage
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Retry = Callable[..., tuple[Solution, list[LineStep], "Inclined"]]

WRONG = "def f(x):\n    return x - x\n"  # passes one visible test
RIGHT = "def f(x):\n    return x + x\n"
ANOTHER = "def g(x):\n    return x\n"


class Inclined(ScriptedBackend):
    """Writes the wrong sign rather than the right one, and rather still after a signal."""

    unsignalled = (0.5, 0.4)
    signalled = (0.99, 0.005)
    program = WRONG

    def __init__(self) -> None:
        super().__init__(ScriptedOptions(script=self._answer, noise=0.001))

    def _answer(self, text: str) -> str:
        response = text.rpartition("```python\n")[2]
        program = self.program if "Double a number" in text else "def add(a, b):\n    return a\n"
        return (program + "```\n")[len(response) :]

    def _shares(self, ids: tuple[int, ...]) -> Any:
        text = bytes(ids).decode()
        if not text.endswith("return x ") or self.program is not WRONG:
            return super()._shares(ids)
        shares = np.full(128, 1e-6)
        signal = "Run 1: f(2)" in text
        shares[[ord("-"), ord("+")]] = self.signalled if signal else self.unsignalled
        return np.log(shares)


@pytest.fixture
def retry(run: Run, sandbox: Sandbox, double: Problem) -> Retry:
    def solved(
        model: Inclined,
        *,
        problem: Problem = double,
        tokens: int | None = None,
        **options: Any,
    ) -> tuple[Solution, list[LineStep], Inclined]:
        steps: list[LineStep] = []

        async def work() -> Solution:
            config = RunConfig(prompt=["long_code"], tokens_per_task=tokens)
            method = create(Kind.METHOD, "retry", options)
            async with Engine(config, backend=model, method=method, sandbox=sandbox) as engine:
                return await engine.solve(problem, on_step=steps.append)

        return run(work()), steps, model

    return solved


def shown(steps: list[LineStep]) -> list[str]:
    return [step.signal.text for step in steps if step.signal and step.fresh]


def test_a_greedy_answer_that_passes_ends_it(retry: Retry) -> None:
    class Right(Inclined):
        unsignalled = (0.1, 0.8)

    solution, steps, _ = retry(Right())
    assert solution.passed
    assert [each.stage for each in solution.attempts] == ["greedy"]
    assert not steps
    assert not solution.events


def test_the_answer_after_a_failure_is_led_away_from_it_by_one_signal(retry: Retry) -> None:
    solution, steps, _ = retry(Inclined())
    assert solution.passed
    assert solution.code == RIGHT
    assert [each.stage for each in solution.attempts] == ["greedy", "retry"]
    assert solution.events == {"retry": 1}
    [signal] = shown(steps)
    assert "return x - x" in signal
    assert all(step.signal.away for step in steps if step.signal)
    assert len([step for step in steps if step.signal]) > 1
    assert solution.generation.signals == 1
    assert solution.generation.tokens_changed == 1
    assert Stage.SAMPLING not in solution.generation.usage  # no candidates


def test_above_0_the_model_is_led_towards_what_failed(retry: Retry) -> None:
    solution, steps, _ = retry(Inclined(), gamma=0.3, n=2)
    assert solution.code == WRONG
    assert not any(step.signal.away for step in steps if step.signal)
    assert solution.events == {"retry": 1, "repeated_program": 1}


def test_after_the_second_answers_are_drawn_so_that_they_do_not_repeat_for_ever(
    retry: Retry,
) -> None:
    class Unmoved(Inclined):
        signalled = unsignalled = (0.7, 0.25)

    solution, steps, _ = retry(Unmoved(), n=40)
    assert solution.passed
    assert solution.events["repeated_program"] >= 1
    assert solution.events["retry"] == solution.events["repeated_program"] + 1
    assert len(shown(steps)) == solution.events["retry"]
    assert len(set(shown(steps))) == 1  # the one program that failed
    again, _, _ = retry(Unmoved(), n=40)
    assert again.events == solution.events


def test_at_gamma_0_answers_are_only_drawn(retry: Retry) -> None:
    solution, steps, _ = retry(Inclined(), gamma=0.0, n=20)
    assert solution.passed
    assert not shown(steps)


def test_a_placebo_shows_another_task_s_programs(retry: Retry) -> None:
    solution, steps, model = retry(Inclined(), placebo=True, n=2)
    assert solution.code == WRONG  # nothing told of it
    [signal] = shown(steps)
    assert "def add(a, b)" in signal
    assert "def f" not in signal
    assert all(step.signal.away for step in steps if step.signal)
    assert solution.generation.usage["placebo"].output_tokens > 0
    asked = {bytes(request.ids).decode() for request in model.scored}
    assert any("Double a number" in text and "def add(a, b)" in text for text in asked)


def test_a_program_that_cannot_run_guides_nothing(retry: Retry) -> None:
    class Another(Inclined):
        program = ANOTHER

    solution, steps, _ = retry(Another(), n=2)
    assert not solution.passed
    assert solution.events == {"retry": 1, "repeated_program": 1}
    assert not any(shown(steps))
    assert solution.generation.usage.keys() <= {"greedy", "prefix", "guided"}


def test_without_visible_tests_the_greedy_answer_stands(retry: Retry, double: Problem) -> None:
    solution, steps, _ = retry(Inclined(), problem=evolve(double, visible_tests=[]))
    assert solution.code == WRONG
    assert not steps


def test_the_last_attempt_stands_when_the_budget_ends(retry: Retry) -> None:
    class Dear(Inclined):
        async def score(self, requests: Any) -> Answer[Any]:
            answer = await super().score(requests)
            return Answer(answer.value, Usage(requests=1, input_tokens=1000))

    solution, _, _ = retry(Dear(), tokens=15_000)
    assert solution.code == WRONG
    assert solution.events["refused"]


def test_it_needs_log_probabilities(solve: Callable[..., Any], programs: Any) -> None:
    with pytest.raises(CapabilityError, match="tells no log-probabilities"):
        solve("retry", [programs.same])
