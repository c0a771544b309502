"""mgdebugger: a program split into functions, repaired from the leaves up, and merged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Solve = Callable[..., Any]
Programs = Any

SPLIT = (
    "def twice(x):\n    return x + 1\n\ndef f(x):\n    return twice(x)\n"  # as wrong as the seed
)
SEED = "def f(x):\n    return x + 1\n"
TESTS = "assert twice(3) == 6\nassert twice(1) == 2\n"
TWICE = "def twice(x):\n    return x + x\n"


def test_a_leaf_is_repaired_on_its_own_tests_and_the_whole_is_right(solve: Solve) -> None:
    solution, model = solve("mgdebugger", [SEED, SPLIT, TESTS, TWICE])
    assert solution.passed
    assert [each.stage for each in solution.attempts] == ["greedy", "repair"]
    usage = solution.generation.usage
    assert {stage: used.requests for stage, used in usage.items()} == {
        "greedy": 1,
        "split": 1,
        "tests": 1,
        "fix": 1,
    }
    assert [params.temperature for _, params in model.asked] == [0.0, 0.8, 0.8, 0.8]
    assert "assert twice(3) == 6\n  the call gave 4" in model.said(3)
    assert "return x + x" in solution.code
    assert "return twice(x)" in solution.code


def test_a_function_that_passes_its_tests_is_left_alone(solve: Solve) -> None:
    split = SPLIT.replace("return twice(x)", "return twice(x) + 2")
    whole = "def f(x):\n    return 2 * x\n"
    solution, model = solve("mgdebugger", [SEED, split, "assert twice(1) == 2", whole])
    assert solution.passed
    assert "assert f(2) == 4\n  the call gave 5" in model.said(3)  # the whole, on the visible tests


def test_fixes_are_counted_and_the_best_one_goes_on(solve: Solve) -> None:
    half = "def twice(x):\n    return 6\n"  # passes one of two
    worse = "def twice(x):\n    return 0\n"
    answers = [SEED, SPLIT.replace("x + 1", "0"), TESTS, half, worse, worse, "?"]
    solution, model = solve("mgdebugger", answers, attempts=1)
    assert not solution.passed
    assert [programs.count("return 6") for programs in map(model.said, (4, 5))] == [1, 1]
    assert solution.generation.usage["fix"].requests == 6  # of the leaf, and of the whole
    assert solution.events == {"unreadable_program": 3}


def test_a_split_that_cannot_be_read_leaves_the_seed(solve: Solve, programs: Programs) -> None:
    for unreadable in ("I would not split it.", "def g(x):\n    return x\n"):
        solution, model = solve("mgdebugger", [SEED, unreadable, programs.right])
        assert solution.passed
        assert solution.events == {"unreadable_functions": 1}
        assert SEED in model.said(2)


def test_tests_that_cannot_be_read_leave_the_function(solve: Solve, programs: Programs) -> None:
    solution, model = solve("mgdebugger", [SEED, SPLIT, "No tests.", programs.right])
    assert solution.passed
    assert solution.events == {"unreadable_tests": 1}
    assert "assert f(2) == 4" in model.said(3)


def test_a_fix_without_the_function_is_counted_and_asked_again(solve: Solve) -> None:
    solution, _ = solve("mgdebugger", [SEED, SPLIT, TESTS, "Done!", TWICE])
    assert solution.passed
    assert solution.events == {"unreadable_program": 1}


def test_attempts_begin_from_the_seed_anew(solve: Solve) -> None:
    first = [SEED, SPLIT, "No tests.", "?", "?", "?"]
    solution, model = solve("mgdebugger", [*first, SPLIT, TESTS, TWICE], attempts=2)
    assert solution.passed
    assert SEED in model.said(6)
    assert "twice" not in model.said(6)


def test_the_answer_is_the_best_of_all_attempts(solve: Solve, programs: Programs) -> None:
    answers = [programs.same, programs.broken, "?", "?", "?"]
    solution, _ = solve("mgdebugger", answers, attempts=1)
    assert solution.code == programs.same
    assert len(solution.attempts) == 1


def test_a_repaired_whole_keeps_its_functions(solve: Solve) -> None:
    split = SPLIT.replace("return twice(x)", "return twice(x) + 2").replace("x + 1", "2 * x")
    whole = "def f(x):\n    return twice(x)\n"
    solution, _ = solve("mgdebugger", [SEED, split, TESTS, whole])
    assert solution.passed
    assert "def twice" in solution.code
