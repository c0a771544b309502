from __future__ import annotations

import pytest

from egcfg.interfaces.problem import AssertTest, CheckTest, Problem, StdioTest

HIDDEN = "hidden_sentinel_4711"

HUMANEVAL_CODE = '''\
import math


def helper(x):
    return x


def f(x: int) -> int:
    """Double x.
    >>> f(2)
    4
    """
'''

PROBLEMS = {
    "asserts": Problem(
        task_id="1",
        description="Write a function to double a number.",
        entry_point="f",
        visible_tests=[AssertTest("assert f(2) == 4"), AssertTest("assert f(-1) == -2")],
        hidden_tests=[AssertTest(f"assert f(8) == '{HIDDEN}'")],
    ),
    "given_code": Problem(
        task_id="2",
        description="Double x.\n>>> f(2)\n4",
        entry_point="f",
        visible_tests=[AssertTest("assert f(2) == 4")],
        hidden_tests=[CheckTest(f"def check(candidate):\n    assert '{HIDDEN}'\n", "f")],
        given_code=HUMANEVAL_CODE,
        scorer="check",
    ),
    "given_signature": Problem(
        task_id="3",
        description="Double the number x.",
        entry_point="f",
        visible_tests=[AssertTest("assert f(3) == 6")],
        hidden_tests=[AssertTest(f"assert f(8) == '{HIDDEN}'")],
        given_code="import math\n\ndef f(x):\n",
    ),
    "stdio": Problem(
        task_id="4",
        description="Print the line twice.",
        entry_point=None,
        visible_tests=[StdioTest("seen in\n", "seen out\n")],
        hidden_tests=[StdioTest(f"{HIDDEN}\n", f"{HIDDEN}\n")],
        scorer="stdio",
    ),
    "no_visible_tests": Problem(
        task_id="5",
        description="Write a function to double a number.",
        entry_point="f",
        visible_tests=[],
        hidden_tests=[AssertTest(f"assert f(8) == '{HIDDEN}'")],
    ),
}


@pytest.fixture(params=PROBLEMS.values(), ids=PROBLEMS.keys())
def problem(request: pytest.FixtureRequest) -> Problem:
    value: Problem = request.param
    return value


@pytest.fixture
def double() -> Problem:
    return PROBLEMS["asserts"]


@pytest.fixture
def humaneval() -> Problem:
    return PROBLEMS["given_code"]


@pytest.fixture
def signature_only() -> Problem:
    return PROBLEMS["given_signature"]


@pytest.fixture
def program() -> Problem:
    return PROBLEMS["stdio"]


@pytest.fixture
def hidden_sentinel() -> str:
    return HIDDEN
