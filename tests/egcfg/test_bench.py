"""The bench: programs run on the visible tests, and on tests that a method brings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from attrs import frozen

from egcfg.engine import Engine
from egcfg.errors import UsageError
from egcfg.interfaces.method import Attempt, Bench, Method
from egcfg.interfaces.problem import AssertTest, CheckTest, Problem, StdioTest
from egcfg.sandbox import Sandbox
from egcfg.testing.answering import AnsweringBackend

PROGRAM = "def help(x):\n    return x + 1\n\ndef f(x):\n    return help(x)\n"


@pytest.fixture(scope="module")
def at_bench(run: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Return what a function of the bench of a problem returns."""
    sandbox = Sandbox()

    def at(problem: Problem, work: Callable[[Bench], Any], *answers: str) -> Any:
        found = []

        class AtBench(Method):
            @frozen
            class Options: ...

            async def solve(self, bench: Bench) -> AsyncIterator[Attempt]:
                found.append(await work(bench))
                yield Attempt(program=PROGRAM, stage="test")

        async def solve() -> None:
            backend = AnsweringBackend(AnsweringBackend.Options(answers or ["nothing"]))
            async with Engine(backend=backend, method=AtBench(), sandbox=sandbox) as engine:
                await engine.solve(problem)

        run(solve())
        return found[0]

    yield at
    sandbox.close()


def problem(**changes: Any) -> Problem:
    values = {
        "task_id": "t",
        "description": "Add one.",
        "entry_point": "f",
        "visible_tests": [AssertTest("assert f(1) == 2"), AssertTest("assert f(2) == 4")],
    }
    return Problem(**values | changes)


def verdicts(run: Any) -> list[tuple[str, str]]:
    return [(result.name, result.status.value) for result in run.results]


def test_a_program_runs_on_the_visible_tests(at_bench: Callable[..., Any]) -> None:
    [found] = at_bench(problem(), lambda bench: bench.run([PROGRAM]))
    assert verdicts(found) == [("assert f(1) == 2", "passed"), ("assert f(2) == 4", "failed")]
    assert found.outcomes == ("gave 2", "gave 3")
    assert found.traces == ()


def test_a_program_runs_on_tests_of_the_method(at_bench: Callable[..., Any]) -> None:
    tests = [AssertTest("assert f(7) == 8")]
    [found] = at_bench(problem(), lambda bench: bench.run([PROGRAM], tests, traces=True))
    assert verdicts(found) == [("assert f(7) == 8", "passed")]
    assert found.passed
    assert found.outcomes == ("gave 8",)
    assert [trace.call for trace in found.traces] == ["f(7)"]


def test_tests_may_be_about_another_function(at_bench: Callable[..., Any]) -> None:
    tests = [AssertTest("assert help(7) == 9")]
    [found] = at_bench(problem(), lambda b: b.run([PROGRAM], tests, function="help"))
    assert verdicts(found) == [("assert help(7) == 9", "failed")]
    assert found.outcomes == ("gave 8",)


@pytest.mark.parametrize(
    "changes",
    [
        {"entry_point": None, "visible_tests": [StdioTest("1", "2")], "scorer": "stdio"},
        {
            "hidden_tests": [CheckTest("def check(c):\n    assert c(1) == 2", "f")],
            "scorer": "check",
        },
    ],
)
def test_asserts_are_judged_as_such_whatever_decides_the_task(
    at_bench: Callable[..., Any], changes: dict[str, Any]
) -> None:
    tests = [AssertTest("assert help(7) == 8")]
    task = problem(**changes)
    [found] = at_bench(task, lambda bench: bench.run([PROGRAM], tests, function="help"))
    assert found.passed


def test_examples_of_a_task_that_check_functions_decide_are_asserts(
    at_bench: Callable[..., Any],
) -> None:
    check = CheckTest("def check(c):\n    assert c(1) == 2", "f")
    task = problem(hidden_tests=[check], scorer="check")
    [found] = at_bench(task, lambda bench: bench.run([PROGRAM]))
    assert verdicts(found) == [("assert f(1) == 2", "passed"), ("assert f(2) == 4", "failed")]


def test_tests_that_name_another_function_are_refused(at_bench: Callable[..., Any]) -> None:
    tests = [AssertTest("assert g(7) == 9")]
    with pytest.raises(UsageError, match="no visible test calls 'f'"):
        at_bench(problem(), lambda bench: bench.run([PROGRAM], tests))


def test_a_program_is_taken_out_for_the_function_that_is_asked_for(
    at_bench: Callable[..., Any],
) -> None:
    answer = "```python\ndef f(x):\n    return 1\n```\n```python\ndef help(x):\n    return 2\n```\n"

    async def both(bench: Bench) -> tuple[str, str]:
        return bench.program(answer), bench.program(answer, "help")

    task, part = at_bench(problem(), both)
    assert "def f" in task
    assert "def help" in part
    assert "def f(" not in part


def test_a_drawn_program_is_cut_where_its_answer_ends_within_the_code(
    at_bench: Callable[..., Any],
) -> None:
    answers = [
        f"```python\n{PROGRAM}",
        f"```python\n{PROGRAM[:-1]} + 1\n```\nLike this:\n```python\nf(",  # only words are cut
        f"```python\n{PROGRAM[:-1]} + 2\n```",
        f"```python\n{PROGRAM}```",
    ]

    async def drawn(bench: Bench) -> list[bool]:
        first = await bench.run(await bench.draw(3, stage="draw", temperature=0.8))
        # The same program as the first one, and whole.
        return [run.cut for run in first + await bench.run(await bench.draw(stage="draw"))]

    assert at_bench(problem(), drawn, *answers) == [True, False, False, False]
