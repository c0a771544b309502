"""greedy, best_of_n and warming: answers drawn, and chosen by the visible tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from egcfg.interfaces.method import ProgramRun
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.scorer import TestResult, TestStatus
from egcfg.methods.choice import best_run

Solve = Callable[..., Any]
Programs = Any


def test_greedy_is_one_answer_at_temperature_0(solve: Solve, programs: Programs) -> None:
    solution, model = solve("greedy", [programs.right, programs.same])
    assert solution.passed
    assert [params.temperature for _, params in model.asked] == [0.0]
    assert [(each.stage, each.passed, each.tokens) for each in solution.attempts] == [
        ("greedy", True, 100)
    ]


def test_best_of_n_stops_at_the_first_that_passes_the_visible_tests(
    solve: Solve, programs: Programs
) -> None:
    solution, model = solve(
        "best_of_n",
        [
            programs.same,
            programs.right,
            programs.broken,
        ],
        n=5,
    )
    assert solution.passed
    assert len(model.asked) == 2
    assert [each.passed for each in solution.attempts] == [False, True]
    assert [each.tokens for each in solution.attempts] == [100, 200]
    assert len({params.seed for _, params in model.asked}) == 2
    # What each attempt had cost, and what the visible tests alone said of it.
    assert [each.visible for each in solution.attempts] == [False, True]
    assert [each.spent.calls for each in solution.attempts] == [1, 2]
    first, second = (each.spent.executions for each in solution.attempts)
    assert 0 < first < second == solution.spent.executions  # the verdict is not counted


@pytest.mark.parametrize("greedy", [True, False])
def test_best_of_n_draws_all_answers_or_all_but_the_first(
    solve: Solve, programs: Programs, greedy: bool
) -> None:
    solution, model = solve("best_of_n", [programs.broken, programs.same], n=3, greedy_first=greedy)
    first = 0.0 if greedy else 0.8
    assert [params.temperature for _, params in model.asked] == [first, 0.8, 0.8]
    stages = [each.stage for each in solution.attempts]
    assert stages == ["greedy" if greedy else "sample", "sample"]


def test_what_passes_the_visible_tests_need_not_pass_the_hidden_one(
    solve: Solve, programs: Programs
) -> None:
    solution, model = solve("best_of_n", [programs.square, programs.right])
    assert len(model.asked) == 1
    assert not solution.passed
    [attempt] = solution.attempts
    assert attempt.visible
    assert not attempt.passed


def test_what_a_method_did_not_run_is_held_against_the_visible_tests_after_its_end(
    solve: Solve, programs: Programs
) -> None:
    for program, visible in ((programs.square, True), (programs.broken, False)):
        solution, _ = solve("greedy", [program])
        assert [each.visible for each in solution.attempts] == [visible]
        assert solution.spent.executions == 0


def test_best_of_n_ends_after_n(solve: Solve, programs: Programs) -> None:
    solution, model = solve(
        "best_of_n",
        [
            programs.broken,
            programs.same,
            programs.broken,
        ],
        n=3,
    )
    assert len(model.asked) == 3
    assert solution.code == programs.same  # passes one of two
    assert [each.program for each in solution.attempts] == [programs.broken, programs.same]


def test_without_visible_tests_the_first_answer_stands(
    solve: Solve, programs: Programs, double: Problem
) -> None:
    for method in ("best_of_n", "warming"):
        blind = evolve(double, visible_tests=[])
        solution, model = solve(method, [programs.same, programs.right], problem=blind)
        assert len(model.asked) == 1
        assert solution.code == programs.same


def test_warming_rises_from_0_to_the_hottest(solve: Solve, programs: Programs) -> None:
    solution, model = solve("warming", [programs.same], n=5, hottest=0.8)
    assert [params.temperature for _, params in model.asked] == pytest.approx(
        [0, 0.2, 0.4, 0.6, 0.8]
    )
    assert not solution.passed


def test_a_budget_ends_a_method_and_its_last_attempt_stands(
    solve: Solve, programs: Programs
) -> None:
    solution, model = solve("best_of_n", [programs.same], n=50, tokens=250)
    assert len(model.asked) == 3  # the third begins within the budget
    assert solution.code == programs.same
    assert solution.generation.total_usage.requests == 3


def test_a_budget_caps_what_an_answer_may_take(solve: Solve, programs: Programs) -> None:
    _, model = solve("best_of_n", [programs.same], n=2, tokens=120)
    assert [params.max_tokens for _, params in model.asked] == [120, 20]


def _run(
    program: str,
    share: float,
    *outcomes: str,
    failed: TestStatus = TestStatus.FAILED,
    cut: bool = False,
) -> ProgramRun:
    results = tuple(
        TestResult(name=str(n), status=TestStatus.PASSED if n < share * 4 else failed, seconds=0.0)
        for n in range(4)
    )
    return ProgramRun(program=program, results=results, outcomes=outcomes, cut=cut)


def test_the_best_run_passes_most_then_agrees_with_most_then_came_first() -> None:
    one = _run("one", 0.5, "gave 1")
    other = _run("other", 0.5, "gave 2")
    same = _run("same", 0.5, "gave 2")
    more = _run("more", 0.75, "gave 3")
    assert best_run([one, other]) is one
    assert best_run([one, other, same]) is other
    assert best_run([one, other, same, more]) is more


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("raised ZeroDivisionError: division", TestStatus.ERROR),
        ("timeout, printed ''", TestStatus.TIMEOUT),
        ("memory, printed ''", TestStatus.MEMORY),
    ],
)
def test_programs_that_come_to_nothing_alike_are_no_cluster(
    outcome: str, status: TestStatus
) -> None:
    crash = [_run(f"crash {n}", 0.0, outcome, failed=status) for n in range(3)]
    wrong = _run("wrong", 0.0, "gave 1")
    assert best_run([*crash, wrong]) is wrong


def test_answers_that_were_cut_are_no_cluster() -> None:
    cut = [_run(f"cut {n}", 0.25, "gave None", cut=True) for n in range(3)]
    whole = [_run("whole", 0.25, "gave 1"), _run("other", 0.25, "gave 2")]
    assert best_run([*cut, *whole]) is whole[0]
    more = _run("more", 0.5, "gave None", cut=True)
    assert best_run([*cut, *whole, more]) is more


def test_best_of_n_prefers_a_whole_answer_to_many_that_were_cut(solve: Solve) -> None:
    cut = [f"```python\ndef f(x):\n    # {n}\n    y = x" for n in range(3)]
    wrong = "def f(x):\n    return 7\n"
    solution, _ = solve("best_of_n", [*cut, wrong, wrong], n=5)
    assert solution.code == wrong
