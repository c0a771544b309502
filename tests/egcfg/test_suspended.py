"""Work on a task, suspended after an attempt and gone on with in another asyncio task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import pytest

from egcfg.bench import MadeAttempt
from egcfg.config import RunConfig
from egcfg.engine import Engine
from egcfg.errors import BudgetError
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.solution import Solution
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox
from egcfg.testing.answering import AnsweringBackend
from egcfg.usage.budget import Budget, Meter

Run = Callable[[Coroutine[Any, Any, Any]], Any]

DOUBLE = Problem(
    task_id="t/double",
    description="Double a number.",
    entry_point="f",
    visible_tests=[AssertTest("assert f(2) == 4"), AssertTest("assert f(0) == 0")],
    hidden_tests=[AssertTest("assert f(5) == 10")],
)
SAME, BROKEN, RIGHT = (f"def f(x):\n    return {value}\n" for value in ("x", "x / 0", "2 * x"))
ANSWERS = [SAME, BROKEN, BROKEN, RIGHT]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with closing(Sandbox()) as opened:
        yield opened


def engine_of(sandbox: Sandbox, meter: Meter | None = None, **options: Any) -> Engine:
    answers = [f"```python\n{program}```\n" for program in ANSWERS]
    return Engine(
        RunConfig(),
        backend=AnsweringBackend(AnsweringBackend.Options(answers)),
        method=create(Kind.METHOD, "best_of_n", {"n": 6, **options}),
        sandbox=sandbox,
        meter=meter,
    )


async def next_turn(steps: AsyncGenerator[Any, None]) -> Any:
    """Go on to the next attempt, or the solution, in an asyncio task of its own."""
    return await asyncio.create_task(anext(steps))  # type: ignore[arg-type]  # a coroutine


def test_each_try_is_an_attempt_and_gives_its_turn_back(run: Run, sandbox: Sandbox) -> None:
    async def scenario() -> list[Any]:
        async with engine_of(sandbox) as engine, aclosing(engine.solve_steps(DOUBLE)) as steps:
            seen = [await next_turn(steps)]
            while not isinstance(seen[-1], Solution):
                seen.append(await next_turn(steps))
            return seen

    *attempts, solution = run(scenario())
    assert all(isinstance(each, MadeAttempt) for each in attempts)
    assert [each.attempt.program for each in attempts] == [SAME, SAME, SAME, RIGHT]
    assert [each.spent.tokens for each in attempts] == [100, 200, 300, 400]
    assert [each.share for each in attempts] == [0.5, 0.5, 0.5, 1.0]
    assert [each.new for each in attempts] == [True, False, False, True]
    # A try that was no better is no answer of its own.
    assert [(each.program, each.tokens) for each in solution.attempts] == [
        (SAME, 100),
        (RIGHT, 400),
    ]
    assert solution.passed
    assert not solution.unfinished


def test_who_watches_is_told_of_answers_that_are_new(run: Run, sandbox: Sandbox) -> None:
    async def scenario() -> list[str]:
        told: list[str] = []
        async with engine_of(sandbox) as engine:
            await engine.solve(DOUBLE, on_attempt=lambda made: told.append(made.attempt.program))
        return told

    assert run(scenario()) == [SAME, RIGHT]


@pytest.mark.parametrize("requests", [1, 2, 3])
def test_the_last_attempt_stands_at_the_end_of_all_work_s_budget_where_that_is_asked(
    run: Run, sandbox: Sandbox, requests: int
) -> None:
    async def scenario(stand: bool) -> Solution:
        meter = Meter(Budget(max_requests=requests))
        async with (
            engine_of(sandbox, meter) as engine,
            aclosing(engine.solve_steps(DOUBLE, attempts_stand=stand)) as steps,
        ):
            async for step in steps:
                if isinstance(step, Solution):
                    return step
        raise AssertionError

    with pytest.raises(BudgetError, match="--max-requests"):
        run(scenario(stand=False))
    solution = run(scenario(stand=True))
    assert (solution.code, solution.passed, solution.unfinished) == (SAME, False, True)
    assert solution.generation.total_usage.requests == requests


def test_without_an_attempt_the_end_of_all_work_s_budget_is_an_error(
    run: Run, sandbox: Sandbox
) -> None:
    async def scenario() -> None:
        meter = Meter(Budget(max_requests=1))
        async with engine_of(sandbox, meter) as engine:
            await engine.solve(DOUBLE, tokens=100)  # spends the one request
            async with aclosing(engine.solve_steps(DOUBLE, attempts_stand=True)) as steps:
                await anext(steps)

    with pytest.raises(BudgetError, match="--max-requests"):
        run(scenario())


def test_a_task_s_own_budget_does_not_leave_it_unfinished(run: Run, sandbox: Sandbox) -> None:
    async def scenario() -> Solution:
        async with engine_of(sandbox) as engine:
            return await engine.solve(DOUBLE, tokens=150)

    solution = run(scenario())
    assert solution.events["refused"] == 1
    assert not solution.unfinished


def test_a_suspended_task_holds_no_keys_and_values_that_others_need(
    tiny_llama: Path, run: Run, sandbox: Sandbox
) -> None:
    backend = create(Kind.BACKEND, "hf", {"model": str(tiny_llama), "dtype": "float64"})

    async def scenario() -> tuple[list[int], list[str]]:
        method = create(Kind.METHOD, "best_of_n", {"n": 3})
        config = RunConfig(prompt=["long_code"], max_tokens=8)
        lanes, programs = [], []
        async with (
            Engine(config, backend=backend, method=method, sandbox=sandbox) as engine,
            aclosing(engine.solve_steps(DOUBLE)) as one,
            aclosing(engine.solve_steps(DOUBLE)) as other,
        ):
            for _ in range(3):
                for steps in (one, other):
                    made = await next_turn(steps)
                    await asyncio.sleep(0)  # until the task that ended is known to have
                    lanes.append(len(backend._opened.lanes.live))
                    programs.append(made.attempt.program)
        return lanes, programs

    lanes, programs = run(scenario())
    assert lanes == [0] * 6
    assert programs[::2] == programs[1::2]
