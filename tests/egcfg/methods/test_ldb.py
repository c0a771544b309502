"""ldb: rounds of judging the blocks of a failing run, and of regenerating."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from egcfg.interfaces.problem import AssertTest, Problem

Solve = Callable[..., Any]
Programs = Any


def test_a_failing_run_is_judged_block_by_block_and_repaired(
    solve: Solve, programs: Programs
) -> None:
    solution, model = solve("ldb", [programs.same, "Block 1: wrong, x stays", programs.right])
    assert solution.passed
    assert [each.stage for each in solution.attempts] == ["greedy", "repair"]
    assert [params.temperature for _, params in model.asked] == [0.0, 0.0, 0.0]
    assert "[Block 1]\n# before: x = 2\n    return x\n# after: x = 2; returns 2" in model.said(1)
    assert "- assert f(2) == 4\n  the call gave 2" in model.said(1)
    assert "You judged block 1 to be wrong." in model.said(2)
    assert "wrong, x stays" in model.said(2)


def test_judgements_that_cannot_be_read_stay_in_the_dialogue(
    solve: Solve, programs: Programs
) -> None:
    solution, model = solve("ldb", [programs.same, "It adds instead.", programs.right])
    assert solution.passed
    assert solution.events == {"unreadable_judgements": 1}
    assert "It adds instead." in model.said(2)
    assert model.said(2).count("the call gave 2") == 2


def test_an_answer_that_repeats_the_question_judges_nothing(
    solve: Solve, programs: Programs
) -> None:
    ends = "def f(x):\n    # wrong\n    return x\n"
    _, asked = solve("ldb", [ends, "Well.", programs.right])
    solution, _ = solve("ldb", [ends, asked.said(1), programs.right])
    assert solution.events == {"unreadable_judgements": 1}


def test_blocks_that_all_are_right_are_no_reason_to_stop(solve: Solve, programs: Programs) -> None:
    solution, model = solve("ldb", [programs.same, "Block 1: right", programs.right])
    assert solution.passed
    assert "You judged" not in model.said(2)


def test_later_rounds_are_drawn_and_take_the_newest_program(
    solve: Solve, programs: Programs
) -> None:
    solution, model = solve("ldb", [programs.same, "?", programs.broken, "?", programs.right])
    assert solution.passed
    assert [params.temperature for _, params in model.asked] == [0.0, 0.0, 0.0, 0.8, 0.8]
    assert programs.broken in model.said(3)
    assert programs.same not in model.said(3)  # a dialogue of its own
    assert "raises ZeroDivisionError" in model.said(3)
    assert [each.program for each in solution.attempts] == [programs.same, programs.right]


def test_the_best_program_is_the_answer_after_the_last_round(
    solve: Solve, programs: Programs
) -> None:
    solution, model = solve("ldb", [programs.same, "?", programs.broken], rounds=3)
    assert len(model.asked) == 7
    assert solution.code == programs.same


def test_a_round_without_a_program_goes_on_from_the_one_before(
    solve: Solve, programs: Programs
) -> None:
    solution, model = solve("ldb", [programs.same, "?", "Sorry.", "?", programs.right])
    assert solution.passed
    assert solution.events == {"unreadable_judgements": 2, "unreadable_program": 1}
    assert programs.same in model.said(3)


def test_what_does_not_compile_is_repaired_without_blocks(solve: Solve, programs: Programs) -> None:
    solution, model = solve("ldb", ["def f(x:\n    return 2 * x\n", programs.right])
    assert solution.passed
    assert len(model.asked) == 2
    assert "SyntaxError" in model.said(1)


def test_no_program_at_all_is_asked_for_again(solve: Solve, programs: Programs) -> None:
    solution, model = solve("ldb", ["", programs.right])
    assert solution.passed
    assert "No program could be found" in model.said(1)


def test_of_a_long_run_the_ends_are_shown(
    solve: Solve, programs: Programs, double: Problem
) -> None:
    loop = "def f(x):\n    n = 0\n    for i in range(x):\n        n += 1\n    return n\n"
    problem = evolve(double, visible_tests=[AssertTest("assert f(30) == 60")])
    _, model = solve("ldb", [loop, "?", programs.right], problem=problem, blocks=4)
    shown = [line for line in model.said(1).splitlines() if line.startswith("[Block ")]
    assert shown == ["[Block 1]", "[Block 2]", "[Block 62]", "[Block 63]"]


def test_failing_tests_take_turns(solve: Solve, programs: Programs, double: Problem) -> None:
    tests = [AssertTest("assert f(2) == 4"), AssertTest("assert f(3) == 6")]
    problem = evolve(double, visible_tests=tests)
    _, model = solve("ldb", [programs.same, "?", programs.same], problem=problem, rounds=2)
    assert "- assert f(2) == 4\n  the call" in model.said(1)
    assert "- assert f(3) == 6\n  the call" in model.said(3)
