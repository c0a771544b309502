"""An engine in somebody else's program: completions, samples, loops, ends, no output."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

import egcfg
from egcfg import AssertTest, CheckTest, DecodingSettings, Engine, Problem, Sandbox
from egcfg.config import load_config
from egcfg.errors import UsageError
from egcfg.interfaces.method import Configuration
from egcfg.testing.answering import AnsweringBackend

GIVEN = 'def f(x):\n    """Double it."""\n'
WHOLE = "def f(x):\n    return 2 * x\n"
PROBLEM = Problem(
    task_id="t",
    description="Double it.",
    entry_point="f",
    visible_tests=[AssertTest("assert f(2) == 4")],
    hidden_tests=[CheckTest("def check(candidate):\n    assert candidate(7) == 14\n", "f")],
    given_code=GIVEN,
    scorer="check",
)
PLAIN = DecodingSettings(gamma=0)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with closing(Sandbox()) as opened:
        yield opened


def engine_of(sandbox: Sandbox, answer: str = WHOLE, **more: Any) -> Engine:
    """Return an engine with a model that answers as it is told, by a method that asks it once."""
    backend = AnsweringBackend(AnsweringBackend.Options([f"```python\n{answer}```"]))
    config = load_config({"method": "greedy"}, ["prompt.prefill=false"], environment={}).config
    return Engine(config, backend=backend, sandbox=sandbox, **more)


def solved(sandbox: Sandbox, answer: str = WHOLE) -> egcfg.Solution:
    async def solve() -> egcfg.Solution:
        async with engine_of(sandbox, answer) as engine:
            return await engine.solve(PROBLEM, PLAIN)

    return asyncio.run(solve())


@pytest.mark.parametrize("answer", [WHOLE, GIVEN + "    return x + x\n"])
def test_a_completion_after_the_given_code_is_the_program(sandbox: Sandbox, answer: str) -> None:
    solution = solved(sandbox, answer)
    assert solution.passed
    names: dict[str, Callable[[int], int]] = {}
    exec(GIVEN + solution.completion, names)
    assert names["f"](7) == 14
    assert not solution.completion.startswith(GIVEN)


def test_the_json_has_the_tests_that_were_seen_and_those_that_scored(sandbox: Sandbox) -> None:
    solution = solved(sandbox)
    told = json.loads(solution.to_json())
    assert (told["task_id"], told["passed"]) == ("t", True)
    assert told["tests_seen"] == ["assert f(2) == 4"]
    assert list(told["results"]) == ["check(f)"]
    assert told["settings"]["gamma"] == 0
    assert (told["code"], told["completion"]) == (solution.code, solution.completion)


def test_json_holds_even_text_that_is_no_unicode(sandbox: Sandbox) -> None:
    solution = solved(sandbox, "def f(x):\n    return '\ud800'\n")
    assert "\\ud800" in json.loads(solution.to_json())["completion"]


def test_samples_have_a_seed_each(sandbox: Sandbox) -> None:
    async def solve() -> list[list[egcfg.Solution]]:
        async with engine_of(sandbox) as engine:
            one_way = [Configuration(settings=DecodingSettings(gamma=0, seed=20))]
            return [
                await engine.solve_samples(PROBLEM, PLAIN, n=3),
                await engine.solve_samples(PROBLEM, n=2, configurations=one_way),
            ]

    three, two = asyncio.run(solve())
    first = PLAIN.seed
    assert [each.settings.seed for each in three] == [first, first + 1, first + 2]
    assert [each.settings.seed for each in two] == [20, 21]
    assert all(each.passed for each in [*three, *two])


def test_a_closed_engine_refuses(sandbox: Sandbox) -> None:
    async def use() -> None:
        engine = engine_of(sandbox)
        await engine.solve(PROBLEM, PLAIN)
        await engine.close()
        await engine.close()
        for use_again in (engine.open, lambda: engine.solve(PROBLEM, PLAIN)):
            with pytest.raises(UsageError, match=r"this engine is closed; make another"):
                await use_again()
        with pytest.raises(UsageError, match="this engine is closed"):
            engine.prompt(PROBLEM)

    asyncio.run(use())


def test_an_engine_that_was_left_refuses_blocking_callers_too(sandbox: Sandbox) -> None:
    with engine_of(sandbox) as engine:
        assert egcfg.solve(PROBLEM, engine=engine, gamma=0).passed
    with pytest.raises(UsageError, match="this engine is closed"):
        egcfg.solve(PROBLEM, engine=engine, gamma=0)


def test_several_engines_work_side_by_side_on_one_loop(sandbox: Sandbox) -> None:
    answers = [WHOLE, "def f(x):\n    return x + x\n", "def f(x):\n    return x << 1\n"]

    async def solve() -> list[egcfg.Solution]:
        engines = [engine_of(sandbox, answer) for answer in answers]
        try:
            return list(await asyncio.gather(*(e.solve(PROBLEM, PLAIN) for e in engines)))
        finally:
            for engine in engines:
                await engine.close()

    solutions = asyncio.run(solve())
    assert [solution.code for solution in solutions] == answers
    assert all(solution.passed for solution in solutions)


def test_whoever_has_no_loop_of_asyncio_is_told_in_one_line(sandbox: Sandbox) -> None:
    said = "egcfg's coroutines run on asyncio alone; elsewhere, as under trio, call egcfg.solve"
    with pytest.raises(UsageError, match=said):
        engine_of(sandbox).solve(PROBLEM, PLAIN).send(None)
    with pytest.raises(UsageError, match=said):
        egcfg.reward([WHOLE], PROBLEM).send(None)


SILENT = """
import egcfg
from egcfg.testing.answering import AnsweringBackend

problem = egcfg.problem_from({
    "task_id": "t", "description": "Double it.", "tests": ["assert f(2) == 4"],
})
answer = "```python\\nprint('said')\\ndef f(x):\\n    return 2 * x\\n```"
backend = AnsweringBackend(AnsweringBackend.Options([answer]))
config = egcfg.load_config({"method": "greedy"}, ["prompt.prefill=false"]).config
with egcfg.Engine(config, backend=backend) as engine:
    assert egcfg.solve(problem, engine=engine, gamma=0).passed
"""


def test_the_library_prints_nothing() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SILENT], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
