"""Several attempts at one problem, up to the first that passes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from egcfg.decoding.settings import DecodingSettings
from egcfg.engine import Engine
from egcfg.errors import BudgetError
from egcfg.interfaces.method import Configuration
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.solution import LineStep, Solution
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg.usage.budget import Budget, Meter

PROBLEM = Problem(
    task_id="square",
    description="Square x.",
    entry_point="f",
    visible_tests=[AssertTest("assert f(3) == 9")],
)
ANSWERS = {
    "chat": "def f(x):\n    return x + x\n```",
    "long_code": "def f(x):\n    return x * x\n```",
}
SETTINGS = DecodingSettings(gamma=1)


def script(text: str) -> str:
    answer = ANSWERS["long_code" if "### Response" in text else "chat"]
    written = text.rpartition("```python\n")[2]
    return answer[len(written) :] if answer.startswith(written) else ""


def try_in_turn(
    prompts: list[str], meter: Meter | None = None
) -> tuple[list[Solution], list[str], list[LineStep]]:
    """Return the solutions, the prompts that were taken, and the lines that were decided."""
    solutions: list[Solution] = []
    taken: list[str] = []
    steps: list[LineStep] = []

    def attempts() -> Iterator[list[Configuration]]:
        for prompt in prompts:
            taken.append(prompt)
            yield [Configuration(settings=SETTINGS, prompt=prompt)]

    async def work() -> None:
        backend = ScriptedBackend(ScriptedOptions(script=script, noise=0.05))
        async with Engine(backend=backend, meter=meter) as engine:
            found = engine.solve_in_turn(PROBLEM, attempts(), on_step=steps.append)
            async for solution in found:
                solutions.append(solution)  # noqa: PERF401 - kept where an error ends it

    try:
        asyncio.run(work())
    except BudgetError:
        taken.append("budget")
    return solutions, taken, steps


def test_attempts_are_taken_one_by_one_up_to_the_first_that_passes() -> None:
    solutions, taken, steps = try_in_turn(["chat", "long_code", "chat"])

    assert [solution.passed for solution in solutions] == [False, True]
    assert taken == ["chat", "long_code"]
    assert [step.text for step in steps if "return" in step.text] == [
        "    return x + x\n",
        "    return x * x\n",
    ]


def test_where_none_passes_all_were_tried() -> None:
    solutions, taken, _ = try_in_turn(["chat", "chat"])

    assert [solution.passed for solution in solutions] == [False, False]
    assert taken == ["chat", "chat"]


@pytest.mark.parametrize(("share", "kept"), [(0.5, 0), (1.5, 1)])
def test_a_budget_ends_the_attempts_and_keeps_the_solutions_before(share: float, kept: int) -> None:
    (whole,), _, _ = try_in_turn(["chat"])
    limit = int(share * whole.generation.total_usage.output_tokens)
    solutions, taken, _ = try_in_turn(["chat", "chat"], Meter(Budget(max_tokens=limit)))

    assert len(solutions) == kept
    assert taken == ["chat"] * (kept + 1) + ["budget"]
