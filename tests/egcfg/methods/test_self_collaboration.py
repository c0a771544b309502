"""self_collaboration: who is told what, and when the coder has the last word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from egcfg.interfaces.problem import Problem, StdioTest

Solve = Callable[..., Any]
Programs = Any

CALLS = "```python\nprint(f(3))\nprint(f(-1))\n```\n"


def test_the_testers_report_goes_back_to_the_coder(solve: Solve, programs: Programs) -> None:
    answers = ["plan A", programs.same, CALLS, programs.right, CALLS, "All is as it should be."]
    solution, model = solve("self_collaboration", answers)
    assert solution.passed
    assert [each.stage for each in solution.attempts] == ["coder", "repair"]
    assert "plan A" in model.said(1)
    assert programs.same in model.said(2)
    assert "plan A" not in model.said(2)
    assert "- f(3) gave 3\n- f(-1) gave -1" in model.said(3)
    assert "plan A" in model.said(3)  # the coder's dialogue
    assert programs.right in model.said(4)
    assert "- f(3) gave 6" in model.said(5)
    assert len(model.asked) == 6


def test_the_coder_may_stand_by_a_program(solve: Solve, programs: Programs) -> None:
    for answer in ("It is right.", programs.right):
        solution, model = solve("self_collaboration", ["plan", programs.right, CALLS, answer])
        assert solution.passed
        assert len(model.asked) == 4
        assert len(solution.attempts) == 1
        assert solution.events == {}


def test_exceptions_are_reported(solve: Solve, programs: Programs) -> None:
    _, model = solve("self_collaboration", ["plan", programs.broken, CALLS, programs.right])
    assert "- f(3) raised ZeroDivisionError: division by zero" in model.said(3)


def test_rounds_and_calls_are_counted(solve: Solve, programs: Programs) -> None:
    answers = ["plan", programs.same, CALLS, programs.broken, CALLS, programs.right]
    _, model = solve("self_collaboration", answers, rounds=1, calls=1)
    assert len(model.asked) == 4
    assert "f(3) gave" in model.said(3)
    assert "f(-1) gave" not in model.said(3)
    _, model = solve("self_collaboration", answers, rounds=0)
    assert len(model.asked) == 2


def test_the_visible_tests_choose_nothing(
    solve: Solve, programs: Programs, double: Problem
) -> None:
    answers = ["plan", programs.right, CALLS, programs.same, CALLS, programs.same]
    for visible in (double.visible_tests, ()):
        problem = evolve(double, visible_tests=visible)
        solution, model = solve("self_collaboration", answers, problem=problem)
        assert solution.code == programs.same  # the coder's last word
        assert len(model.asked) == 6


def test_a_tester_without_calls_ends_it(solve: Solve, programs: Programs) -> None:
    answers = ["plan", programs.same, "I tried f(x) and it works."]
    solution, model = solve("self_collaboration", answers)
    assert solution.code == programs.same
    assert len(model.asked) == 3
    assert solution.events == {"unreadable_calls": 1}


def test_a_first_answer_without_a_program_is_asked_for_again(
    solve: Solve, programs: Programs
) -> None:
    answers = ["plan", "Hm.", "Hm.", programs.right]
    solution, model = solve("self_collaboration", answers)
    assert solution.passed
    assert "No program could be found" in model.said(2)
    assert len(model.asked) == 4
    assert solution.events == {"unreadable_program": 1}


def test_of_a_whole_program_the_visible_tests_are_reported(solve: Solve) -> None:
    problem = Problem(
        task_id="t/io",
        description="Print twice the number.",
        entry_point=None,
        visible_tests=[StdioTest("2\n", "4\n")],
        scorer="stdio",
    )
    wrong, right = (f"```python\nprint({n} * int(input()))\n```" for n in (1, 2))
    solution, model = solve("self_collaboration", ["plan", wrong, right], problem=problem)
    assert solution.passed
    assert "stdin: '2\\n'" in model.said(2)
    assert len(model.asked) == 3  # the second round has nothing to report
    assert solution.events == {"no_function_to_call": 2}


def test_long_outcomes_are_cut(solve: Solve, programs: Programs) -> None:
    long = "def f(x):\n    return '*' * 100_000\n"
    _, model = solve("self_collaboration", ["plan", long, CALLS, programs.right])
    assert len(model.said(3)) < 4000
