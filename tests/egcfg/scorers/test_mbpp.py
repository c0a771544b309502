"""Problems in the form of MBPP, of our own: what the published ones use, from file to verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from egcfg.datasets.selection import open_dataset
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.scorer import Score, Scorer
from egcfg.scorers.asserts import AssertsScorer
from egcfg.scorers.judged import ScorerOptions

ROWS: dict[str, dict[str, Any]] = {
    "plain values": {
        "text": "Write a function to count the vowels of a word.",
        "code": "def count_vowels(word):\r\n    return sum(c in 'aeiou' for c in word)",
        "test_list": ["assert count_vowels('apple') == 2", 'assert count_vowels("sky")==0'],
    },
    "tuples, sets and dictionaries": {
        "text": "Write a function to group words by their length.",
        "code": (
            "def by_length(words):\n    found = {}\n    for word in words:\n"
            "        found.setdefault(len(word), set()).add(word)\n    return found"
        ),
        "test_list": [
            "assert by_length(('a', 'b', 'cd')) == {1: {'a', 'b'}, 2: {'cd'}}",
            "assert (by_length([]) == {})",
        ],
    },
    "a module in the test": {
        "text": "Write a function to find the diagonal of a square.",
        "code": "def diagonal(side):\n    return side * 2 ** 0.5",
        "test_setup_code": "import math",
        "test_list": [
            "assert math.isclose(diagonal(1), 1.41421356, rel_tol=1e-6)",
            "assert math.isclose(diagonal(0), 0)",
        ],
    },
    "a class of the tests' own": {
        "text": "Write a function to add up the values of a linked list.",
        "code": (
            "def total(node):\n    found = 0\n    while node:\n        found += node.value\n"
            "        node = node.next\n    return found"
        ),
        "test_setup_code": (
            "class Node:\n    def __init__(self, value, next=None):\n"
            "        self.value, self.next = value, next"
        ),
        "test_list": ["assert total(Node(1, Node(2))) == 3", "assert total(None) == 0"],
    },
    "a function of two, and a helper": {
        "text": "Write a function to find the greatest common divisor.",
        "code": (
            "def step(a, b):\n    return b, a % b\n\n"
            "def divisor(a, b):\n    while b:\n        a, b = step(a, b)\n    return a"
        ),
        "test_list": ["assert divisor(12, 18) == 6", "assert divisor(7, 5) == 1, 'coprime'"],
    },
}


@pytest.fixture
def problems(tmp_path: Path) -> dict[str, Problem]:
    file = tmp_path / "mbpp.jsonl"
    rows = [
        {"task_id": number, "test_setup_code": "", "challenge_test_list": [], **row}
        for number, row in enumerate(ROWS.values(), 11)
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return dict(zip(ROWS, open_dataset("mbpp", file).problems(), strict=True))


@pytest.mark.parametrize("name", ROWS)
def test_a_right_solution_passes_and_a_spoilt_one_fails(
    judge: Callable[[Scorer, Problem, str], Score], problems: dict[str, Problem], name: str
) -> None:
    problem, code = problems[name], ROWS[name]["code"]
    scorer = AssertsScorer(ScorerOptions())
    assert judge(scorer, problem, code).passed
    spoilt = f"{code}\n\ndef {problem.entry_point}(*_, **__):\n    return object\n"
    score = judge(scorer, problem, spoilt)
    assert {result.status.value for result in score.results} <= {"failed", "error"}


@pytest.mark.parametrize("name", ROWS)
def test_the_first_test_is_a_call_that_can_be_traced(
    problems: dict[str, Problem], name: str
) -> None:
    problem = problems[name]
    assert [test.name for test in problem.scoring_tests] == [
        test.name for test in problem.visible_tests
    ]
    executions = problem.executions(ROWS[name]["code"])
    assert executions
    assert executions[0].call.startswith(f"{problem.entry_point}(")
