"""codet: the choice by agreement between programs and self-made asserts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from egcfg.interfaces.method import ProgramRun
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.scorer import TestResult, TestStatus
from egcfg.methods.codet import agreed_run

Solve = Callable[..., Any]
Programs = Any

ASSERTS = "assert f(3) == 6\nassert f(1) == 2\n"


def _run(program: str, *passed: str) -> ProgramRun:
    names = ("a", "b", "c", "d")
    status = {True: TestStatus.PASSED, False: TestStatus.FAILED}
    results = tuple(TestResult(name=n, status=status[n in passed], seconds=0.0) for n in names)
    return ProgramRun(program=program, results=results, outcomes=())


def test_a_cluster_is_worth_its_tests_times_the_root_of_its_programs() -> None:
    three = [_run(f"three {n}", "a", "b") for n in range(3)]  # 2 x 1.73
    one = _run("one", "b", "c", "d")  # 3 x 1
    assert agreed_run([one, *three]) is three[0]
    assert agreed_run([one, *three[:2]]) is one  # 2 x 1.41
    assert agreed_run([_run("none"), _run("none")]) is None


def test_programs_that_agree_with_many_asserts_win(
    solve: Solve, programs: Programs, double: Problem
) -> None:
    for visible in (double.visible_tests, ()):
        problem = evolve(double, visible_tests=visible)
        answers = [programs.same, programs.right, programs.right, ASSERTS, "assert f(2) == 2"]
        solution, model = solve("codet", answers, problem=problem, n=3, lists=2)
        assert solution.code == programs.right
        assert [each.stage for each in solution.attempts] == ["sample", "agreed"]
        assert len(model.asked) == 5
        assert all(params.temperature == 0.8 for _, params in model.asked)
        assert solution.generation.usage["tests"].requests == 2


def test_only_the_first_asserts_of_each_list_count(solve: Solve, programs: Programs) -> None:
    answers = [programs.right, programs.same, "assert f(1) == 1\n" + ASSERTS]
    solution, _ = solve("codet", answers, n=2, lists=1, asserts=1)
    assert solution.code == programs.same
    solution, _ = solve("codet", answers, n=2, lists=1, asserts=3)
    assert solution.code == programs.right


def test_lists_that_cannot_be_read_are_counted(solve: Solve, programs: Programs) -> None:
    answers = [programs.same, programs.right, "I cannot.", ASSERTS]
    solution, _ = solve("codet", answers, n=2, lists=2)
    assert solution.passed
    assert solution.events == {"unreadable_tests": 1}


def test_without_a_readable_assert_the_visible_tests_choose(
    solve: Solve, programs: Programs, double: Problem
) -> None:
    answers = [programs.same, programs.right, "I cannot."]
    solution, _ = solve("codet", answers, n=2, lists=2)
    assert solution.passed
    assert [each.stage for each in solution.attempts] == ["sample", "visible"]
    assert solution.events == {"unreadable_tests": 2}
    blind = evolve(double, visible_tests=[])
    solution, _ = solve("codet", answers, problem=blind, n=2, lists=2)
    assert solution.code == programs.same


def test_asserts_that_nothing_passes_choose_nothing(solve: Solve, programs: Programs) -> None:
    answers = [programs.same, programs.right, "assert f(1) == 77"]
    solution, _ = solve("codet", answers, n=2, lists=1)
    assert solution.passed  # by the visible tests


def test_one_program_is_the_answer_whatever_the_asserts(solve: Solve, programs: Programs) -> None:
    solution, _ = solve("codet", [programs.same, ASSERTS], n=1, lists=1)
    assert solution.code == programs.same
    assert len(solution.attempts) == 1


def test_hostile_asserts_end_nothing(solve: Solve, programs: Programs) -> None:
    hostile = (
        "assert f(__import__('os')._exit(0)) == 1\n"
        "assert f(exit()) or exit()\n"
        "assert f(1) == __import__('os').kill(__import__('os').getpid(), 9)\n"
        "assert f(3) == 6\n"
    )
    solution, _ = solve("codet", [programs.same, programs.right, hostile], n=2, lists=1)
    assert solution.passed
