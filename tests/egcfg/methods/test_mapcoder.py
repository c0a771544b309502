"""mapcoder: exemplars, plans by confidence, programs and their repairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from egcfg.interfaces.problem import Problem

Solve = Callable[..., Any]
Programs = Any

RECALLED = "## Problem 1\nhalve\n## Problem 2\nsquare\n## Problem 3\nnegate\n## Advice\nMultiply.\n"
PLANNED = ["plan A", "confidence: 20", "plan B", "I am 90% sure.", "plan C", "confidence: 50"]


def test_the_surest_plan_is_coded_first(solve: Solve, programs: Programs) -> None:
    solution, model = solve("mapcoder", [RECALLED, *PLANNED, programs.right])
    assert solution.passed
    assert len(model.asked) == 8
    assert [each.stage for each in solution.attempts] == ["code"]
    assert "plan B" in model.said(7)
    assert all(params.temperature == 0.0 for _, params in model.asked)


def test_each_plan_follows_its_exemplar_and_the_advice(solve: Solve, programs: Programs) -> None:
    _, model = solve("mapcoder", [RECALLED, *PLANNED, programs.right])
    for number, exemplar in ((1, "halve"), (3, "square"), (5, "negate")):
        said = model.said(number)
        assert [word in said for word in ("halve", "square", "negate")].count(True) == 1
        assert exemplar in said
        assert said.count("Multiply.") == 1


def test_a_program_is_repaired_with_what_its_run_showed(solve: Solve, programs: Programs) -> None:
    solution, model = solve("mapcoder", [RECALLED, *PLANNED, programs.same, programs.right])
    assert solution.passed
    assert [each.stage for each in solution.attempts] == ["code", "repair"]
    assert "assert f(2) == 4\n  the call gave 2" in model.said(8)
    assert "plan B" in model.said(8)


def test_after_the_repairs_the_next_plan_has_its_turn(solve: Solve, programs: Programs) -> None:
    answers = [RECALLED, *PLANNED, *[programs.broken] * 3, programs.right]
    solution, model = solve("mapcoder", answers, repairs=2)
    assert solution.passed
    assert "plan C" in model.said(10)
    assert programs.broken not in model.said(10)


def test_the_best_of_all_is_the_answer(solve: Solve, programs: Programs) -> None:
    answers = [RECALLED, *PLANNED, programs.broken, programs.same, programs.broken]
    solution, model = solve("mapcoder", answers, repairs=1)
    assert solution.code == programs.same
    assert len(model.asked) == 7 + 3 * 2
    assert [each.program for each in solution.attempts] == [programs.broken, programs.same]


def test_without_visible_tests_the_first_program_stands(
    solve: Solve, programs: Programs, double: Problem
) -> None:
    blind = evolve(double, visible_tests=[])
    answers = [RECALLED, *PLANNED, programs.same, programs.right]
    solution, model = solve("mapcoder", answers, problem=blind)
    assert solution.code == programs.same
    assert len(model.asked) == 8


def test_an_answer_that_names_no_problem_is_one_exemplar(solve: Solve, programs: Programs) -> None:
    solution, model = solve("mapcoder", ["It is like tripling.", "plan", "80", programs.right])
    assert solution.passed
    assert solution.events == {"unreadable_exemplars": 1}
    assert "It is like tripling." in model.said(1)
    assert "similar problem" not in model.said(3)


def test_an_empty_answer_leaves_the_plan_without_one(solve: Solve, programs: Programs) -> None:
    solution, model = solve("mapcoder", ["", "plan", "80", programs.right])
    assert solution.passed
    assert "similar problem" not in model.said(1)


def test_a_plan_whose_confidence_cannot_be_read_comes_last(
    solve: Solve, programs: Programs
) -> None:
    planned = ["plan A", "quite sure", "plan B", "confidence: 1"]
    recalled = "<problem>a</problem><problem>b</problem>"
    solution, model = solve("mapcoder", [recalled, *planned, programs.right])
    assert "plan B" in model.said(5)
    assert solution.events == {"unreadable_confidence": 1}


def test_a_program_that_cannot_be_read_is_asked_for_again(solve: Solve, programs: Programs) -> None:
    solution, model = solve("mapcoder", [RECALLED, *PLANNED, "Hm.", programs.right])
    assert solution.passed
    assert solution.events == {"unreadable_program": 1}
    assert "No program could be found" in model.said(8)
