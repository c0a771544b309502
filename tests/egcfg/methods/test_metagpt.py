"""metagpt: documents handed on, and repairs by tests of the model's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from egcfg.interfaces.problem import Problem

Solve = Callable[..., Any]
Programs = Any

DOCUMENTS = ["requirement A", "design B"]
ASSERTS = "assert f(3) == 6\nassert f(0) == 0\n"


def test_documents_are_handed_on(solve: Solve, programs: Programs) -> None:
    solution, model = solve("metagpt", [*DOCUMENTS, programs.right, ASSERTS])
    assert solution.passed
    assert "requirement A" in model.said(1)
    assert "requirement A" in model.said(2)
    assert "design B" in model.said(2)
    assert "design B" not in model.said(3)  # tests are made from the task
    assert len(model.asked) == 4
    assert {*solution.generation.usage} == {"require", "design", "code", "tests"}


def test_a_program_is_repaired_by_its_own_tests(solve: Solve, programs: Programs) -> None:
    answers = [*DOCUMENTS, programs.same, ASSERTS, programs.right]
    solution, model = solve("metagpt", answers)
    assert solution.passed
    assert [each.stage for each in solution.attempts] == ["code", "repair"]
    assert "assert f(3) == 6\n  the call gave 3" in model.said(4)
    assert "design B" in model.said(4)  # the engineer's dialogue
    assert len(model.asked) == 5


def test_the_best_by_its_own_tests_is_the_answer(solve: Solve, programs: Programs) -> None:
    answers = [*DOCUMENTS, programs.same, ASSERTS, programs.broken]
    solution, model = solve("metagpt", answers, fixes=2)
    assert solution.code == programs.same
    assert len(model.asked) == 6
    assert "ZeroDivisionError" in model.said(5)  # the newest is what is repaired


def test_the_visible_tests_choose_nothing(
    solve: Solve, programs: Programs, double: Problem
) -> None:
    for visible in (double.visible_tests, ()):
        problem = evolve(double, visible_tests=visible)
        answers = [*DOCUMENTS, programs.same, "assert f(1) == 1", programs.right]
        solution, model = solve("metagpt", answers, problem=problem)
        assert solution.code == programs.same
        assert len(model.asked) == 4


def test_without_a_readable_assert_the_program_stands(solve: Solve, programs: Programs) -> None:
    solution, model = solve("metagpt", [*DOCUMENTS, programs.same, "I cannot.", programs.right])
    assert solution.code == programs.same
    assert len(model.asked) == 4
    assert solution.events == {"unreadable_tests": 1}


def test_an_answer_without_a_program_costs_a_fix(solve: Solve, programs: Programs) -> None:
    answers = [*DOCUMENTS, programs.same, ASSERTS, "It is right.", programs.right]
    assert solve("metagpt", answers, fixes=2)[0].passed
    solution, _ = solve("metagpt", answers, fixes=1)
    assert solution.code == programs.same
    assert solution.events == {"unreadable_program": 1}
