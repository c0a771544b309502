"""EvalPlus' shapes: typed arguments, and checks by a reference solution in the real judge."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from egcfg.datasets.shapes.evalplus import typed
from egcfg.datasets.shapes.table import read_problems
from egcfg.errors import DataError
from egcfg.interfaces.problem import Problem
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox

Write = Callable[..., Path]
Run = Callable[[Coroutine[Any, Any, Any]], Any]

MBPP_PLUS: dict[str, Any] = {
    "task_id": "Mbpp/1",
    "prompt": '"""\nWrite a function to swap a pair.\nassert swap((1, 2)) == (2, 1)\n"""\n',
    "entry_point": "swap",
    "canonical_solution": "\ndef swap(pair):\n    return (pair[1], pair[0])\n",
    "base_input": [[[1, 2]], [["a", "b"]]],
    "plus_input": [[[float("inf"), 3]], [[7, 7]]],
    "atol": 0,
    "contract": "\n",
    "assertion": "assert swap((1, 2)) == (2, 1)\nassert swap(('a', 'b')) == ('b', 'a')\n",
}
HUMANEVAL_PLUS: dict[str, Any] = {
    "task_id": "HumanEval/0",
    "prompt": 'def half(n: int) -> float:\n    """ Halve it.\n    >>> half(3)\n    1.5\n    """\n',
    "entry_point": "half",
    "canonical_solution": "    return n / 2\n",
    "test": "def check(candidate):\n    assert candidate(3) == 1.5\n",
    "base_input": [[3]],
    "plus_input": [[0], [10]],
    "atol": 0,
}


def verdicts(run: Run, problem: Problem, code: str) -> list[str]:
    async def judged() -> list[str]:
        async with Sandbox() as sandbox:
            score = await create(Kind.SCORER, problem.scorer).score(problem, code, sandbox)
            return [result.status.value for result in score.results]

    found: list[str] = run(judged())
    return found


@pytest.mark.parametrize(
    ("value", "examples", "expected"),
    [
        ([1, 2], [(3, 4)], (1, 2)),
        ([1, 2], [[3, 4]], [1, 2]),
        ([[1], [2, 3]], [[(1, 2)]], [(1,), (2, 3)]),
        ([1, [2, 3], "x"], [(1, (2, 3), "y")], (1, (2, 3), "x")),
        ([1, [2]], [(1, [2]), (3, [4])], (1, [2])),
        ([[1, [2, [3]]]], [((1, 2),)], ((1, (2, (3,))),)),
        ([1, 1, 2], [{1}], {1, 2}),
        ({"3": [1]}, [{1: (2,)}], {3: (1,)}),
        ("1j", [0, 1j], 1j),
        ("0", [0, 1j], 0),
        ("x", [0], "x"),
        ("12", ["a"], "12"),
        (3, [4.0], 3),
    ],
)
def test_arguments_have_the_types_of_those_in_their_place(
    value: Any, examples: list[Any], expected: Any
) -> None:
    found = typed(value, examples)
    assert found == expected
    assert repr(found) == repr(expected)


def test_mbpp_plus_shows_the_base_asserts_and_scores_by_the_reference(
    write_python: Write, run: Run
) -> None:
    (problem,) = read_problems(write_python(MBPP_PLUS))
    assert problem.description == "Write a function to swap a pair."
    assert [test.name for test in problem.visible_tests] == [
        "assert swap((1, 2)) == (2, 1)",
        "assert swap(('a', 'b')) == ('b', 'a')",
    ]
    assert [test.name for test in problem.hidden_tests] == ["base check(swap)", "plus check(swap)"]
    right = "def swap(p):\n    assert isinstance(p, tuple)\n    return p[::-1]\n"
    wrong = "def swap(p):\n    return (2, 1) if p == (1, 2) else ('b', 'a')\n"
    assert verdicts(run, problem, right) == ["passed", "passed"]
    assert verdicts(run, problem, wrong) == ["passed", "failed"]


def test_where_the_prompt_compares_sets_the_order_is_free(write_python: Write, run: Run) -> None:
    record = MBPP_PLUS | {
        "prompt": '"""\nCommon.\nassert set(swap((1, 2))) == set((2, 1))\n"""\n',
    }
    (problem,) = read_problems(write_python(record))
    assert problem.visible_tests[0].name == "assert set(swap((1, 2))) == set((2, 1))"
    assert verdicts(run, problem, "def swap(p):\n    return list(p)\n") == ["passed", "passed"]


def test_a_question_of_yes_or_no_takes_any_object_for_yes(write_python: Write, run: Run) -> None:
    record = MBPP_PLUS | {
        "prompt": '"""\nIs it a?\nassert is_a("a")\n"""\n',
        "entry_point": "is_a",
        "canonical_solution": "def is_a(text):\n    return True if text == 'a' else None\n",
        "base_input": [["a"], ["b"]],
        "plus_input": [["aa"]],
        "assertion": 'assert is_a("a")\nassert not is_a("b")\n',
    }
    (problem,) = read_problems(write_python(record))
    assert verdicts(run, problem, "def is_a(t):\n    return [1] if t == 'a' else None\n") == [
        "passed",
        "passed",
    ]
    assert verdicts(run, problem, "def is_a(t):\n    return t[:1] == 'a'\n")[1] == "failed"


def test_floats_are_compared_within_the_tolerance(write_python: Write, run: Run) -> None:
    (problem,) = read_problems(write_python(HUMANEVAL_PLUS))
    assert [test.name for test in problem.visible_tests] == ["assert half(3) == 1.5"]
    near = "def half(n):\n    return n / 2 + 1e-7\n"
    far = "def half(n):\n    return n / 2 + 1e-4\n"
    assert verdicts(run, problem, near) == ["passed", "passed"]
    assert verdicts(run, problem, far) == ["failed", "failed"]
    (problem,) = read_problems(write_python(HUMANEVAL_PLUS | {"atol": 1e-3}))
    assert verdicts(run, problem, far) == ["passed", "passed"]


def test_any_root_is_right(write_python: Write, run: Run) -> None:
    given = (
        "import math\n\n\ndef poly(xs, x):\n"
        "    return sum(c * math.pow(x, i) for i, c in enumerate(xs))\n\n\n"
        'def find_zero(xs):\n    """ find_zero([1, 2]) # -0.5 """\n'
    )
    record = HUMANEVAL_PLUS | {
        "prompt": given,
        "entry_point": "find_zero",
        "canonical_solution": "    return -1.0\n",
        "base_input": [[[-1, 0, 1]]],
        "plus_input": [[[-1, 0, 1]]],
        "atol": 1e-4,
    }
    (problem,) = read_problems(write_python(record))
    assert verdicts(run, problem, given + "    return 1.0\n") == ["passed", "passed"]
    assert verdicts(run, problem, given + "    return 2.0\n") == ["failed", "failed"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"assertion": "assert swap((1, 2))"}, "'assertion': must have one assert per base input"),
        ({"assertion": "assert swap("}, "'assertion': is no Python"),
        ({"assertion": "assert f(1)\nassert f(2)"}, "'assertion': must call 'swap'"),
        ({"prompt": '"""Swap."""'}, "'prompt': must show an assert"),
        ({"plus_input": [3]}, r"'plus_input\[0\]': must be a list of arguments"),
    ],
)
def test_a_broken_record_is_named(
    write_python: Write, change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        read_problems(write_python(MBPP_PLUS | change))
