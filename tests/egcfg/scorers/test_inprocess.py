"""The scorer inprocess: tests that share the program's process, and say that they can be forged."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from egcfg.errors import UsageError
from egcfg.interfaces.problem import AssertTest, CheckTest, Problem, StdioTest, TestCase
from egcfg.interfaces.scorer import Score, Scorer, TestStatus
from egcfg.scorers.asserts import AssertsScorer
from egcfg.scorers.inprocess import InprocessScorer
from egcfg.scorers.judged import ScorerOptions

Judge = Callable[[Scorer, Problem, str], Score]
OPTIONS = ScorerOptions(cpu_seconds=1.0, wall_seconds=5.0)

PATCH = (
    "from unittest.mock import patch\n"
    "with patch('builtins.input', return_value='4'):\n    assert f() == 5"
)
CASES = (
    "import unittest\nclass T(unittest.TestCase):\n"
    "    def test_one(self): self.assertEqual(f(1), 2)\n"
    "    def test_two(self): self.assertEqual(f(2), 3)\n"
)


def problem(*tests: TestCase, setup: str = "") -> Problem:
    return Problem(
        task_id="t",
        description="",
        entry_point="f",
        visible_tests=(),
        hidden_tests=tests,
        setup_code=setup,
        scorer="inprocess",
    )


@pytest.mark.parametrize(
    ("test", "right", "wrong"),
    [
        (PATCH, "def f(): return int(input()) + 1", "def f(): return 6"),
        (CASES, "def f(x): return x + 1", "def f(x): return 2 * x"),
        (f"{CASES}unittest.main()", "def f(x): return x + 1", "def f(x): return 2 * x"),
        ("import random\nrandom.seed(1)\na = f()\nrandom.seed(1)\nassert f() == a",
         "import random\ndef f(): return random.random()",
         "import random\nr = random.Random(2)\ndef f(): return r.random()"),
        ("assert f(2) == V(2)",
         "class V:\n    def __init__(s, v): s.v = v\n    def __eq__(s, o): return o.v == s.v\nf=V",
         "class V:\n    def __init__(s, v): s.v = v\nf = V"),
        ("assert double(f(2)) == 8", "def f(x): return 2 * x", "def f(x): return x"),
    ],
)  # fmt: skip
def test_tests_of_the_process_are_judged_and_called_forgeable(
    judge: Judge, test: str, right: str, wrong: str
) -> None:
    case = problem(AssertTest(test), setup="def double(x): return 2 * x")
    scorer = InprocessScorer(OPTIONS)
    for code, passes in ((right, True), (wrong, False), ("def f(", False), ("", False)):
        score = judge(scorer, case, code)
        assert (score.passed, score.forgeable) == (passes, True)


def test_what_inprocess_judges_is_unsupported_apart_and_told_beforehand(
    judge: Judge, caplog: pytest.LogCaptureFixture
) -> None:
    case = problem(AssertTest(PATCH))
    scorer = AssertsScorer(OPTIONS)
    scorer.check(case)
    assert "unsupported: the test runs apart from the program, and it uses unittest" in caplog.text
    (result,) = judge(scorer, case, "def f(): return int(input()) + 1").results
    assert result.status is TestStatus.UNSUPPORTED
    assert "choose the scorer 'inprocess'" in (result.error or "")


def test_check_functions_too(judge: Judge) -> None:
    source = "def check(candidate):\n    assert candidate(2) == 4, 'not four'\n"
    case = problem(CheckTest(source, "f"))
    scorer = InprocessScorer(OPTIONS)
    assert judge(scorer, case, "def f(x): return x * 2").passed
    (failed,) = judge(scorer, case, "def f(x): return x").results
    assert (failed.status, failed.error) == (TestStatus.FAILED, "not four")
    (error,) = judge(scorer, case, "def f(x):\n    assert x == 3, 'own'").results
    assert (error.status, error.error) == (TestStatus.ERROR, "AssertionError: own (line 2)")


def test_a_program_that_leaves_does_not_pass(judge: Judge) -> None:
    case = problem(AssertTest("f()"), AssertTest(CASES))
    for code in ("import sys\ndef f(*_): sys.exit(0)", "import os\ndef f(*_): os._exit(0)"):
        assert not any(
            result.status is TestStatus.PASSED
            for result in judge(InprocessScorer(OPTIONS), case, code).results
        )


def test_other_tests_are_the_users_error() -> None:
    scorer = InprocessScorer(OPTIONS)
    with pytest.raises(UsageError, match="takes assert statements and check functions"):
        scorer.check(problem(StdioTest("", "")))
    with pytest.raises(UsageError, match="calls nothing of the program"):
        scorer.check(problem(AssertTest("assert 1 + 1 == 2")))
