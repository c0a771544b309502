"""lpw: a plan worked by hand and checked, the program, repairs by printed values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from egcfg.interfaces.problem import Problem

Solve = Callable[..., Any]
Programs = Any

WORKED = ["plan A", "2 gives 4. verdict: right", "It follows. verdict: right"]
PRINTING = "def f(x):\n    print('x is', x)\n    return x\n"


def test_a_plan_that_leads_there_is_coded(solve: Solve, programs: Programs) -> None:
    solution, model = solve("lpw", [*WORKED, programs.right])
    assert solution.passed
    assert len(model.asked) == 4
    assert "plan A" in model.said(1)
    assert "It must pass these tests:\n```python\nassert f(2) == 4\nassert f(0) == 0" in (
        model.said(1)
    )
    assert "2 gives 4." in model.said(2)
    assert "plan A" in model.said(3)
    assert "2 gives 4." in model.said(3)
    assert solution.events == {}


def test_only_so_many_tests_are_worked(solve: Solve, programs: Programs) -> None:
    _, model = solve("lpw", [*WORKED, programs.right], tests=1)
    assert model.said(0).count("assert f(0) == 0") == 1  # the task itself
    assert model.said(1).count("assert f(0) == 0") == 1
    assert model.said(1).count("assert f(2) == 4") == 2


def test_a_plan_that_leads_elsewhere_is_written_anew(solve: Solve, programs: Programs) -> None:
    answers = ["plan A", "2 gives 3. verdict: wrong", "plan B", *WORKED[1:], programs.right]
    solution, model = solve("lpw", answers)
    assert solution.passed
    assert "2 gives 3." in model.said(2)
    assert "plan B" in model.said(3)
    assert "plan A" not in model.said(3)
    assert "plan B" in model.said(5)
    assert "2 gives 3." not in model.said(5)


def test_what_was_worked_with_mistakes_is_worked_anew(solve: Solve, programs: Programs) -> None:
    answers = ["plan A", "2 gives 5. verdict: right", "5 is off. verdict: wrong"]
    solution, model = solve("lpw", [*answers, *WORKED[1:], programs.right])
    assert solution.passed
    assert "5 is off." in model.said(3)
    assert "2 gives 4." in model.said(5)
    assert "2 gives 5." not in model.said(5)


def test_revisions_are_counted(solve: Solve, programs: Programs) -> None:
    answers = ["plan A", "verdict: wrong", "plan B", "verdict: wrong", programs.right]
    _, model = solve("lpw", answers, revisions=1)
    assert len(model.asked) == 5
    assert "plan B" in model.said(4)
    _, model = solve("lpw", ["plan A", "verdict: wrong", programs.right], revisions=0)
    assert len(model.asked) == 3


def test_verdicts_that_cannot_be_read_hold_nothing_up(solve: Solve, programs: Programs) -> None:
    solution, model = solve("lpw", ["plan A", "Well.", "Hm.", programs.right])
    assert solution.passed
    assert len(model.asked) == 4
    assert solution.events == {"unreadable_verdict": 2}


def test_a_program_is_repaired_by_what_it_prints(solve: Solve, programs: Programs) -> None:
    solution, model = solve("lpw", [*WORKED, programs.same, PRINTING, programs.right])
    assert solution.passed
    assert [each.stage for each in solution.attempts] == ["code", "repair"]
    assert programs.same in model.said(4)
    told = model.said(5)
    assert "assert f(2) == 4\n  the call gave 2" in told
    assert "x is 2\n" in told
    assert "2 gives 4." in told
    assert "assert f(5)" not in told  # hidden


def test_a_repair_goes_on_without_what_is_not_printed(solve: Solve, programs: Programs) -> None:
    for printing, event in (("No.", "unreadable_program"), (programs.same, "nothing_printed")):
        solution, model = solve("lpw", [*WORKED, programs.same, printing, programs.right])
        assert solution.passed
        assert solution.events == {event: 1}
        assert "With prints" not in model.said(5)


def test_the_best_of_all_is_the_answer(solve: Solve, programs: Programs) -> None:
    answers = [
        *WORKED,
        programs.same,
        PRINTING,
        programs.broken,
        "No.",
        "No.",
        "No.",
        programs.same,
    ]
    solution, model = solve("lpw", answers, repairs=3)
    assert solution.code == programs.same
    assert [each.program for each in solution.attempts] == [programs.same]
    assert [params.temperature for _, params in model.asked] == [0.0] * 6 + [0.8] * 4
    assert programs.broken in model.said(6)  # the newest is what is repaired
    assert solution.events["unreadable_program"] == 3


def test_a_first_answer_without_a_program_is_repaired(solve: Solve, programs: Programs) -> None:
    solution, model = solve("lpw", [*WORKED, "Hm.", programs.right])
    assert solution.passed
    assert "No program could be found" in model.said(4)
    assert solution.events == {"unreadable_program": 1}


def test_without_visible_tests_the_plans_program_stands(
    solve: Solve, programs: Programs, double: Problem
) -> None:
    blind = evolve(double, visible_tests=[])
    solution, model = solve("lpw", ["plan", programs.same, programs.right], problem=blind)
    assert solution.code == programs.same
    assert len(model.asked) == 2
