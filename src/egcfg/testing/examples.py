"""Small problems of each shape that data sets bring, with a hidden test that no prompt may tell."""

from __future__ import annotations

from typing import Final

from egcfg.interfaces.problem import AssertTest, CheckTest, Problem, StdioTest

__all__ = ["HIDDEN", "PROBLEMS", "RIGHT", "RIGHT_WHOLE", "WRONG", "WRONG_WHOLE"]

HIDDEN: Final = "hidden_sentinel_4711"
"""Part of every hidden test's text below, and of nothing else."""

RIGHT: Final = "def f(x):\n    return 2 * x\n"
WRONG: Final = "def f(x):\n    return x + 3\n"
RIGHT_WHOLE: Final = "print(input())\n"
"""A whole program, for a problem without an entry point."""
WRONG_WHOLE: Final = "print(input() + '!')\n"

_GIVEN_CODE: Final = '''\
import math


def helper(x):
    return x


def f(x: int) -> int:
    """Double x.
    >>> f(2)
    4
    """
'''

PROBLEMS: Final = {
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
        given_code=_GIVEN_CODE,
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
        description="Print the line as it is.",
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
