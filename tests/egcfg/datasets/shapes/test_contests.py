"""Contest shapes, from records made by hand after the data sets' documentation."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from egcfg.datasets.shapes.table import read_problems
from egcfg.errors import DataError
from egcfg.interfaces.problem import AssertTest, StdioTest

Write = Callable[..., Path]

LIVE_CODE_BENCH: dict[str, Any] = {
    "question_title": "A. Sum",
    "question_content": "Print a + b.",
    "platform": "codeforces",
    "question_id": "1873_A",
    "contest_id": "1873",
    "contest_date": "2023-08-21T00:00:00",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": json.dumps([{"input": "2 3\n", "output": "5\n", "testtype": "stdin"}]),
    "private_test_cases": json.dumps([{"input": "1 1", "output": "2", "testtype": "stdin"}]),
    "metadata": "{}",
}
FUNCTIONAL: dict[str, Any] = LIVE_CODE_BENCH | {
    "starter_code": "class Solution:\n    def total(self, a: int, xs: List[int]) -> int:\n        ",
    "public_test_cases": json.dumps(
        [{"input": "3\n[1, 2]", "output": "6", "testtype": "functional"}]
    ),
    "private_test_cases": "[]",
    "metadata": json.dumps({"func_name": "total"}),
}
APPS: dict[str, Any] = {
    "problem_id": 7,
    "question": "Print a + b.",
    "solutions": "[]",
    "input_output": json.dumps({"inputs": ["2 3\n", ["1 1", "x"]], "outputs": ["5\n", ["2"]]}),
    "difficulty": "interview",
    "starter_code": "",
}
CODE_CONTESTS: dict[str, Any] = {
    "name": "1_A. Sum",
    "description": "Print a + b.",
    "public_tests": {"input": ["2 3\n"], "output": ["5\n"]},
    "private_tests": {"input": ["1 1\n"], "output": ["2\n"]},
    "generated_tests": {"input": ["0 0\n"], "output": ["0\n"]},
    "time_limit": {"seconds": 2, "nanos": 500_000_000},
    "memory_limit_bytes": 256_000_000,
    "solutions": {"language": [], "solution": []},
}


def packed(tests: list[dict[str, str]]) -> str:
    """Pack tests as LiveCodeBench does."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


def test_live_code_bench_shows_public_tests_and_scores_by_all(write: Write) -> None:
    private = [{"input": "9 9", "output": "18", "testtype": "stdin"}]
    plain, compressed = read_problems(
        write(
            LIVE_CODE_BENCH,
            LIVE_CODE_BENCH | {"question_id": "b", "private_test_cases": packed(private)},
        )
    )
    assert plain.visible_tests == (StdioTest("2 3\n", "5\n"),)
    assert plain.scoring_tests == (StdioTest("2 3\n", "5\n"), StdioTest("1 1", "2"))
    assert (plain.scorer, plain.entry_point) == ("stdio", None)
    assert compressed.scoring_tests[-1] == StdioTest("9 9", "18")


def test_a_functional_test_calls_the_method_of_the_class(write: Write) -> None:
    (problem,) = read_problems(write(FUNCTIONAL))
    assert problem.visible_tests == (AssertTest("assert Solution().total(3, [1, 2]) == 6"),)
    assert (problem.scorer, problem.entry_point) == ("asserts", "Solution")
    assert "class Solution:" in problem.description
    assert problem.given_code == ""
    assert "from typing import *" in problem.setup_code


class Exploit:
    """Would run code if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize(
    "stored",
    [
        base64.b64encode(zlib.compress(pickle.dumps(Exploit()))).decode(),
        base64.b64encode(zlib.compress(pickle.dumps(["[]", "[]"]))).decode(),
        base64.b64encode(b"no zlib").decode(),
        "not base64!",
    ],
)
def test_private_tests_that_are_no_packed_text_are_refused_unrun(write: Write, stored: str) -> None:
    with pytest.raises(DataError, match="private_test_cases"):
        read_problems(write(LIVE_CODE_BENCH | {"private_test_cases": stored}))


def test_apps_scores_by_every_test_and_shows_what_is_asked_for(write: Write) -> None:
    path = write(APPS)
    (problem,) = read_problems(path)
    assert problem.visible_tests == ()
    assert problem.hidden_tests == (StdioTest("2 3\n", "5\n"), StdioTest("1 1\nx", "2"))
    (problem,) = read_problems(path, visible=1)
    assert problem.visible_tests == (StdioTest("2 3\n", "5\n"),)
    assert len(problem.scoring_tests) == 2


def test_apps_may_call_a_function_whose_value_may_be_in_a_list(write: Write) -> None:
    tests = {"fn_name": "inc", "inputs": [[3], [4]], "outputs": [[4], 5]}
    (problem,) = read_problems(write(APPS | {"input_output": json.dumps(tests)}))
    assert problem.hidden_tests == (
        AssertTest("assert inc(3) in (4, [4])"),
        AssertTest("assert inc(4) == 5"),
    )
    assert problem.entry_point == "inc"


def test_taco_says_its_time_limit_in_words(write: Write) -> None:
    (problem,) = read_problems(write(APPS | {"time_limit": "2.5 seconds"}))
    assert problem.time_limit == 2.5


def test_code_contests_has_three_kinds_of_tests_and_limits(write: Write) -> None:
    (problem,) = read_problems(write(CODE_CONTESTS))
    assert problem.visible_tests == (StdioTest("2 3\n", "5\n"),)
    assert len(problem.hidden_tests) == 3
    assert problem.time_limit == 2.5
    assert problem.memory_limit == pytest.approx(244.14, abs=0.01)


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (LIVE_CODE_BENCH | {"public_test_cases": "[1]"}, "'public_test_cases': must hold objects"),
        (LIVE_CODE_BENCH | {"public_test_cases": "{"}, "'public_test_cases': is no JSON"),
        (FUNCTIONAL | {"metadata": "{}"}, "'metadata': must have 'func_name'"),
        (APPS | {"input_output": "{}"}, "'input_output': must have the lists"),
        (APPS | {"input_output": '{"inputs": [], "outputs": []}'}, "'tests': has none"),
        (CODE_CONTESTS | {"public_tests": {"input": ["1"], "output": []}}, "'public_tests': must"),
    ],
)
def test_a_broken_record_is_named(write: Write, record: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        read_problems(write(record))
