"""The stdio scorer: whole programs and solve(), comparison of lines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from egcfg.interfaces.problem import Problem, StdioTest
from egcfg.interfaces.scorer import Score, Scorer, TestResult, TestStatus
from egcfg.scorers.judged import ScorerOptions
from egcfg.scorers.stdio import StdioScorer

OPTIONS = ScorerOptions(cpu_seconds=0.5, wall_seconds=2.0)
DOUBLE = "n = int(input())\nprint(n * 2)\n"


Result = Callable[..., TestResult]


@pytest.fixture
def result(judge: Callable[[Scorer, Problem, str], Score]) -> Result:
    """Judge a program by one pair of input and output."""

    def judge_one(code: str, stdin: str, stdout: str, entry_point: str | None = None) -> TestResult:
        problem = Problem(
            task_id="t",
            description="",
            entry_point=entry_point,
            visible_tests=(StdioTest(stdin, stdout),),
            scorer="stdio",
        )
        [only] = judge(StdioScorer(OPTIONS), problem, code).results
        return only

    return judge_one


@pytest.mark.parametrize(
    ("code", "entry_point"),
    [
        (DOUBLE, None),
        (DOUBLE + "import sys\nsys.exit()", None),
        ("if __name__ == '__main__':\n    print(int(input()) * 2, end='   ')", None),
        ("def solve():\n    print(int(input()) * 2)\n    return 'ignored'", "solve"),
        ("import sys\ndef solve():\n    print(int(input()) * 2)\n    sys.exit(0)", "solve"),
    ],
)
def test_right_programs_pass(result: Result, code: str, entry_point: str | None) -> None:
    assert result(code, "21\n", "42\n", entry_point).status is TestStatus.PASSED
    wrong = result(code, "22\n", "42\n", entry_point)
    assert (wrong.status, wrong.error) == (TestStatus.FAILED, "line 1 is '44', not '42'")


@pytest.mark.parametrize(
    ("printed", "expected", "passes"),
    [
        ("a  \nb\n\n\n", "a\nb", True),
        ("a\r\nb", "a\nb\n", True),
        ("a\n\nb", "a\nb", False),
        (" a", "a", False),
        ("a", "a\nb", False),
        ("", "", True),
    ],
)
def test_output_is_compared_by_lines_without_trailing_blanks(
    result: Result, printed: str, expected: str, passes: bool
) -> None:
    code = f"import sys\nsys.stdout.write({printed!r})"
    assert (result(code, "", expected).status is TestStatus.PASSED) == passes


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("1 / 0", TestStatus.ERROR),
        ("import sys; sys.exit(1)", TestStatus.ERROR),
        ("import os; os._exit(0)", TestStatus.ERROR),
        ("input()", TestStatus.ERROR),
        ("while True: pass", TestStatus.TIMEOUT),
        ("x = [0] * 10**11", TestStatus.MEMORY),
    ],
)
def test_the_right_output_is_not_enough(result: Result, end: str, status: TestStatus) -> None:
    ended = result(f"print('42', flush=True)\n{end}", "", "42")
    assert ended.status is status
    assert ended.error


FUTURE = '"""Doubles."""\nfrom __future__ import annotations\n'


@pytest.mark.parametrize("entry_point", [None, "solve"])
def test_setup_code_leaves_the_programs_first_statement_first(
    judge: Callable[[Scorer, Problem, str], Score], entry_point: str | None
) -> None:
    problem = Problem(
        task_id="t",
        description="",
        entry_point=entry_point,
        visible_tests=(StdioTest("21\n", "42 Doubles.\n"),),
        setup_code="import math\nTWO = 2",
        scorer="stdio",
    )
    code = f"{FUTURE}def solve(n: undefined = 0):\n    print(int(input()) * TWO, __doc__)\n"
    if entry_point is None:
        code += "solve()\n"
    assert judge(StdioScorer(OPTIONS), problem, code).passed


def test_a_byte_order_mark_is_none_of_the_program(result: Result) -> None:
    assert result(f"\ufeff{DOUBLE}", "21\n", "42\n").status is TestStatus.PASSED


def test_what_a_program_imported_is_in_the_result(result: Result) -> None:
    numpy = result(f"import numpy\n{DOUBLE}", "21\n", "42\n")
    assert [name.partition("==")[0] for name in numpy.packages] == ["numpy"]
    assert result(DOUBLE, "21\n", "42\n").packages == ()
