"""qualityflow: what the checker accepts, and what happens to what it rejects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from egcfg.interfaces.problem import Problem

Solve = Callable[..., Any]
Programs = Any

ACCEPTED = ["f(2) is 4. verdict: right", "f(0) is 0. verdict: right"]
REJECTED = "f(2) is 2. verdict: wrong"
TESTS = ["assert f(3) == 6\n", "Test 1: right"]
CLEARER = "Twice means times two."


def test_a_program_that_is_accepted_is_the_answer(solve: Solve, programs: Programs) -> None:
    solution, model = solve("qualityflow", [programs.right, *ACCEPTED, programs.same])
    assert solution.passed
    assert len(model.asked) == 3
    assert [model.said(n).count("assert f(2) == 4") for n in (1, 2)] == [2, 1]  # one test each
    assert solution.events == {}


def test_an_imagined_run_may_accept_what_fails(solve: Solve, programs: Programs) -> None:
    solution, model = solve("qualityflow", [programs.same, *ACCEPTED, programs.right])
    assert solution.code == programs.same
    assert len(model.asked) == 3


def test_what_is_rejected_is_repaired_by_made_tests(solve: Solve, programs: Programs) -> None:
    answers = [programs.same, REJECTED, *TESTS, programs.right, *ACCEPTED]
    solution, model = solve("qualityflow", answers)
    assert solution.passed
    assert [each.stage for each in solution.attempts] == ["generate", "debug"]
    assert "Test 1: assert f(3) == 6" in model.said(3)
    assert "assert f(3) == 6\n  the call gave 3" in model.said(4)
    assert len(model.asked) == 7


def test_made_tests_that_are_called_wrong_are_not_used(solve: Solve, programs: Programs) -> None:
    made = ["assert f(3) == 3\nassert f(4) == 8", "Test 1: wrong\nTest 2: right"]
    _, model = solve("qualityflow", [programs.broken, REJECTED, *made, programs.right, *ACCEPTED])
    assert "f(4) == 8" in model.said(4)
    assert "f(3) == 3" not in model.said(4)


def test_made_tests_that_nobody_judges_are_used(solve: Solve, programs: Programs) -> None:
    answers = [programs.same, REJECTED, TESTS[0], "Well.", programs.right, *ACCEPTED]
    solution, _ = solve("qualityflow", answers)
    assert solution.passed
    assert solution.events == {"unreadable_judgements": 1}


def test_an_answer_that_repeats_the_made_tests_judges_none(
    solve: Solve, programs: Programs
) -> None:
    answers = [programs.same, REJECTED, TESTS[0]]
    _, asked = solve("qualityflow", [*answers, "Well.", programs.right, *ACCEPTED])
    solution, _ = solve("qualityflow", [*answers, asked.said(3), programs.right, *ACCEPTED])
    assert solution.events == {"unreadable_judgements": 1}


def test_a_repair_that_is_rejected_is_repaired_again(solve: Solve, programs: Programs) -> None:
    answers = [programs.same, REJECTED, *TESTS, programs.broken, REJECTED, programs.right]
    solution, model = solve("qualityflow", [*answers, *ACCEPTED])
    assert solution.passed
    assert "ZeroDivisionError" in model.said(6)
    assert [each.program for each in solution.attempts] == [programs.same, programs.right]


def test_where_the_made_tests_pass_the_task_is_worded_anew(
    solve: Solve, programs: Programs
) -> None:
    made = ["assert f(0) == 0", "Test 1: right"]
    answers = [programs.same, REJECTED, *made, CLEARER, programs.right, *ACCEPTED]
    solution, model = solve("qualityflow", answers)
    assert solution.passed
    assert [each.stage for each in solution.attempts] == ["generate", "clarify"]
    assert programs.same in model.said(4)
    assert CLEARER in model.said(5)
    assert programs.same not in model.said(5)


def test_where_nothing_is_accepted_the_first_program_stands(
    solve: Solve, programs: Programs
) -> None:
    answers = [programs.same, REJECTED, "I cannot.", CLEARER, programs.right, REJECTED]
    solution, model = solve("qualityflow", answers)
    assert solution.code == programs.same
    assert len(model.asked) == 6
    assert solution.events == {"unreadable_tests": 1, "nothing_accepted": 1}


def test_repairs_are_counted(solve: Solve, programs: Programs) -> None:
    answers = [programs.same, REJECTED, *TESTS, "Hm.", CLEARER, programs.right, *ACCEPTED]
    solution, _ = solve("qualityflow", answers, repairs=1)
    assert solution.passed
    assert [each.stage for each in solution.attempts] == ["generate", "clarify"]
    assert solution.events == {"unreadable_program": 1}


def test_a_verdict_that_cannot_be_read_rejects(solve: Solve, programs: Programs) -> None:
    answers = [programs.right, "Well.", "I cannot.", CLEARER, programs.square, *ACCEPTED]
    solution, _ = solve("qualityflow", answers)
    assert solution.code == programs.square
    assert solution.events == {"unreadable_verdict": 1, "unreadable_tests": 1}


def test_a_checker_that_executes_asks_nothing(solve: Solve, programs: Programs) -> None:
    answers = [programs.same, *TESTS, programs.right]
    solution, model = solve("qualityflow", answers, checker="executed")
    assert solution.passed
    assert len(model.asked) == 4


def test_without_visible_tests_the_checker_imagines_an_input_or_accepts(
    solve: Solve, programs: Programs, double: Problem
) -> None:
    blind = evolve(double, visible_tests=[])
    _, model = solve("qualityflow", [programs.same, ACCEPTED[0]], problem=blind)
    assert len(model.asked) == 2
    assert "an input of your own" in model.said(1)
    _, model = solve("qualityflow", [programs.same], problem=blind, checker="executed")
    assert len(model.asked) == 1
