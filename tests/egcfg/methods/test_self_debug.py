"""self_debug: what is told before a repair, and which program is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from egcfg.interfaces.problem import AssertTest, Problem

Solve = Callable[..., Any]
Programs = Any


@pytest.mark.parametrize("feedback", ["simple", "unit_test"])
def test_a_program_is_repaired_in_one_question(
    solve: Solve, programs: Programs, feedback: str
) -> None:
    solution, model = solve("self_debug", [programs.same, programs.right], feedback=feedback)
    assert solution.passed
    assert len(model.asked) == 2
    assert [each.stage for each in solution.attempts] == ["greedy", "repair"]
    assert programs.same in model.said(1)
    assert ("the call gave 2" in model.said(1)) == (feedback == "unit_test")
    assert "assert f(0) == 0\n  " not in model.said(1)  # it passes
    assert "assert f(5)" not in model.said(1)  # hidden


@pytest.mark.parametrize(("feedback", "stage"), [("explanation", "explain"), ("trace", "simulate")])
def test_the_model_explains_or_simulates_first(
    solve: Solve, programs: Programs, feedback: str, stage: str
) -> None:
    solution, model = solve(
        "self_debug", [programs.same, "Line 2 gives x.", programs.right], feedback=feedback
    )
    assert solution.passed
    assert len(model.asked) == 3
    assert "the call gave 2" in model.said(1)
    assert "Line 2 gives x." in model.said(2)  # the dialogue so far
    assert solution.generation.usage[stage].requests == 1


def test_exceptions_are_told_before_wrong_values(solve: Solve, programs: Programs) -> None:
    half = "def f(x):\n    return 1 if x else x / 0\n"
    _, model = solve("self_debug", [half, programs.right])
    told = model.said(1)
    assert told.index("ZeroDivisionError: division by zero") < told.index("the call gave 1")


def test_a_wrong_value_is_better_than_an_exception(solve: Solve, programs: Programs) -> None:
    wrong = "def f(x):\n    return 7\n"
    solution, _ = solve("self_debug", [programs.broken, wrong, programs.broken])
    assert solution.code == wrong
    assert [each.program for each in solution.attempts] == [programs.broken, wrong]


def test_a_repair_that_is_worse_is_taken_back(solve: Solve, programs: Programs) -> None:
    solution, model = solve("self_debug", [programs.same, programs.broken, programs.broken])
    assert solution.code == programs.same
    assert len(model.asked) == 3  # two turns
    assert "no better" in model.said(2)
    assert model.said(2).count(programs.same) == 2
    assert "division" not in model.said(2)  # of the program that was taken back


def test_an_answer_without_a_program_costs_a_turn(solve: Solve, programs: Programs) -> None:
    solution, model = solve("self_debug", [programs.same, "It looks right.", programs.right])
    assert solution.passed
    assert solution.events == {"unreadable_program": 1}
    assert "found no program" in model.said(2)


def test_a_first_answer_without_a_program_is_repaired(solve: Solve, programs: Programs) -> None:
    solution, model = solve("self_debug", ["", programs.right])
    assert solution.passed
    assert "No program could be found" in model.said(1)


def test_turns_are_counted(solve: Solve, programs: Programs) -> None:
    _, model = solve("self_debug", [programs.same], turns=4)
    assert len(model.asked) == 5


def test_many_failures_and_long_ones_are_cut(
    solve: Solve, programs: Programs, double: Problem
) -> None:
    tests = [AssertTest(f"assert f({n}{'0' * 3000}) == 0") for n in range(1, 6)]
    problem = evolve(double, visible_tests=tests)
    _, model = solve("self_debug", [programs.broken, programs.right], problem=problem)
    feedback = model.asked[1][0].messages[-1].content
    assert feedback.count("- assert") == 3
    assert "- and 2 more" in feedback
    assert len(feedback) < 5000
