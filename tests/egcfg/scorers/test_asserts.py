"""The asserts scorer: statuses, forms of asserts, setup code, wrong input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from egcfg.errors import UsageError
from egcfg.interfaces.problem import AssertTest, CheckTest, Problem, StdioTest
from egcfg.interfaces.scorer import Score, Scorer, TestStatus
from egcfg.scorers.asserts import AssertsScorer
from egcfg.scorers.check import CheckScorer
from egcfg.scorers.judged import ScorerOptions

OPTIONS = ScorerOptions(cpu_seconds=0.5, wall_seconds=2.0, memory_bytes=200 << 20)


Judge = Callable[[Scorer, Problem, str], Score]
ScoreCode = Callable[..., Score]


@pytest.fixture
def score(judge: Judge) -> ScoreCode:
    """Judge the code of a function f by some tests."""

    def score_one(code: str, *tests: str, **settings: Any) -> Score:
        problem = Problem(
            task_id="t",
            description="",
            entry_point="f",
            visible_tests=tuple(AssertTest(test) for test in tests),
            **settings,
        )
        return judge(AssertsScorer(OPTIONS), problem, code)

    return score_one


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("def f(x): return x * 2", TestStatus.PASSED, None),
        ("def f(x): return x * 3", TestStatus.FAILED, "the assertion does not hold"),
        ("def f(x): return x / 0", TestStatus.ERROR, "ZeroDivisionError: division by zero"),
        ("def f(): return 4", TestStatus.ERROR, "TypeError: f() takes 0 positional"),
        ("def g(): return 4", TestStatus.ERROR, "NameError: name 'f' is not defined"),
        ("def f(x)", TestStatus.ERROR, "SyntaxError: expected ':' (program.py, line 1)"),
        ("def f(x):\n    while True: pass", TestStatus.TIMEOUT, "it took too much processor time"),
        ("def f(x): return [0] * 10**11", TestStatus.MEMORY, "MemoryError:"),
        ("def f(x): return f", TestStatus.FAILED, "the assertion does not hold"),
        (
            "class A:\n    def __eq__(self, other): return True\ndef f(x): return A()",
            TestStatus.UNSUPPORTED,
            "__eq__ of A would decide",
        ),
        ("import os\nos._exit(0)", TestStatus.ERROR, "it left by itself, exit status 0"),
        ("while True: print('x' * 999)", TestStatus.TIMEOUT, "it took too much processor time"),
        ("", TestStatus.ERROR, "there is no code"),
    ],
)
def test_each_end_has_its_status(
    score: ScoreCode, code: str, status: TestStatus, error: str | None
) -> None:
    (result,) = score(code, "assert f(2) == 4").results
    assert (result.name, result.status) == ("assert f(2) == 4", status)
    assert (result.error or "").startswith(error or "")
    assert (result.error is None) == (error is None)


@pytest.mark.parametrize(
    ("test", "scorer"),
    [
        (AssertTest("assert f() == 1"), AssertsScorer(OPTIONS)),
        (
            CheckTest("def check(candidate):\n    assert candidate() == 1\n", "f"),
            CheckScorer(OPTIONS),
        ),
    ],
    ids=["asserts", "check"],
)
def test_a_problem_has_limits_of_its_own(
    judge: Judge, test: AssertTest | CheckTest, scorer: AssertsScorer | CheckScorer
) -> None:
    def status(code: str, **limits: float) -> TestStatus:
        problem = Problem(
            task_id="t",
            description="",
            entry_point="f",
            visible_tests=(),
            hidden_tests=[test],
            **limits,  # type: ignore[arg-type]  # of limits only
        )
        return judge(scorer, problem, code).results[0].status

    sleeps = "import time\ndef f():\n    time.sleep(2.5)\n    return 1"
    assert status(sleeps, time_limit=0.05) is TestStatus.TIMEOUT
    assert status(sleeps, time_limit=60) is TestStatus.PASSED
    fills = "def f():\n    return len(bytearray(150 << 20)) and 1"
    assert status(fills) is TestStatus.PASSED
    assert status(fills, memory_limit=100) is TestStatus.MEMORY


@pytest.mark.parametrize(
    "test",
    [
        "assert f([1, 2]) == [2, 4]",
        "assert not f([])",
        "assert f([]) is not None and f([]) is not [] and f([]) == []",
        "assert abs(f([1])[0] - 2.0000001) < 1e-5",
        "assert set(f([1, 1])) == {2}",
        "assert 4 in f([2])",
        "assert f(f([1])) == [4]",
        "assert f([x for x in range(2)]) == [0, 2]",
        "assert all(f([n]) == [2 * n] for n in range(3))",
        "for n in range(3):\n    assert f([n]) == [2 * n], n",
        "assert list(map(f, [[1], [2]])) == [[2], [4]]",
        "assert f(x=[1]) == f(*[[1]]) == f(**{'x': [1]})",
        "assert (lambda g: g([3]))(f) == [6]",
        "assert f([math.floor(1.5)]) == [2] and math.pi > 3",
        "try:\n    f(None)\nexcept TypeError:\n    pass\nelse:\n    assert False",
    ],
)
def test_asserts_come_in_many_forms(score: ScoreCode, test: str) -> None:
    right = "import math\ndef f(x): return [2 * n for n in x]"
    assert score(right, test).passed
    wrong = "import math, random\ndef f(x): return [n + 7 for n in x or ()] + [random.random()]"
    assert not score(wrong, test).passed


def test_the_message_of_an_assertion_is_the_error(score: ScoreCode) -> None:
    (result,) = score("def f(): pass", "assert f(), 'wants\\nmore'").results
    assert result.error == "wants more"


def test_an_expected_exception_passes_only_when_raised(score: ScoreCode) -> None:
    test = "try:\n    f()\n    assert False\nexcept KeyError as e:\n    assert str(e) == \"'k'\""
    own = "class E(KeyError): pass\ndef f(): raise E('k')"
    assert not score("def f(): raise ValueError('k')", test).passed
    assert not score("def f(): return 1", test).passed
    loose = test.replace(" as e", "").replace("assert str(e) == \"'k'\"", "pass")
    assert score(own, loose).passed


def test_a_test_that_swallows_everything_cannot_hide_an_end(score: ScoreCode) -> None:
    test = "try:\n    f()\nexcept BaseException:\n    pass"
    (result,) = score("import os\ndef f(): os._exit(0)", test).results
    assert result.status is TestStatus.ERROR
    code = "class A:\n    def __bool__(self): return True\ndef f(): return A()"
    (result,) = score(code, test.replace("f()", "assert f()")).results
    assert result.status is TestStatus.UNSUPPORTED


def test_every_test_gets_a_fresh_program(score: ScoreCode) -> None:
    code = "seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)"
    assert score(code, "assert f(1) == 1", "assert f(2) == 1").passed
    assert score(code, "assert f(1) + f(1) == 3").passed


def test_setup_code_runs_before_the_program_or_after_where_it_needs_it(score: ScoreCode) -> None:
    early = score("def f(): return BASE + 1", "assert f() == BASE + 1", setup_code="BASE=1")
    assert early.passed
    code = "class Node:\n    def __init__(self, v): self.v = v\ndef f(n): return n.v"
    late = score(code, "assert f(root) == 5", setup_code="root = Node(5)")
    assert late.passed
    broken = score("def f(n): return 1", "assert f(1) == 1", setup_code="root = Node(5)")
    assert broken.general_error == "NameError: name 'Node' is not defined"


def test_arguments_may_use_the_programs_classes(score: ScoreCode) -> None:
    code = "class Pair:\n    def __init__(self, a): self.a = a\ndef f(ps): return [p.a for p in ps]"
    assert score(code, "assert f([Pair(1), Pair(2)]) == [1, 2]").passed


def test_what_keeps_a_program_from_loading_is_the_general_error(score: ScoreCode) -> None:
    result = score("import nowhere", "assert f(1) == 1", "assert f(2) == 2")
    assert result.general_error == "ModuleNotFoundError: No module named 'nowhere' (line 1)"
    assert score("def f(x): return 1 / 0", "assert f(1) == 1").general_error is None
    # Not even a test that calls nothing passes on it.
    assert not score("import nowhere", "assert True or f(1)").passed


def test_accuracy_is_the_share_of_tests(score: ScoreCode) -> None:
    result = score("def f(x): return 1", "assert f(1) == 1", "assert f(2) == 2")
    assert (result.accuracy, result.passed) == (0.5, False)


@pytest.mark.parametrize("test", ["assert f(", "assert f(1) ==\0 1"])
def test_a_test_that_is_no_python_is_the_users_error(score: ScoreCode, test: str) -> None:
    with pytest.raises(UsageError, match="syntax error in the test"):
        score("def f(x): return 1", test)


def test_other_kinds_of_tests_are_the_users_error(judge: Judge) -> None:
    problem = Problem(
        task_id="t", description="", entry_point="f", visible_tests=(StdioTest("", ""),)
    )
    with pytest.raises(UsageError, match="takes assert statements, not StdioTest"):
        judge(AssertsScorer(OPTIONS), problem, "x")


def test_a_test_that_says_nothing_is_refused_beforehand_and_never_passes(judge: Judge) -> None:
    problem = Problem(
        task_id="t",
        description="",
        entry_point="f",
        visible_tests=(),
        hidden_tests=(AssertTest("assert 1 + 1 == 2"),),
    )
    scorer = AssertsScorer(OPTIONS)
    with pytest.raises(UsageError, match="task t: a test calls nothing of the program"):
        scorer.check(problem)
    (result,) = judge(scorer, problem, "def f(): pass").results
    assert result.status is TestStatus.UNSUPPORTED


def test_a_test_that_turns_out_to_ask_nothing_does_not_pass(score: ScoreCode) -> None:
    (result,) = score("def f(x): return x", "for x in []:\n    assert f(x)").results
    assert result.status is TestStatus.UNSUPPORTED
    assert "asked nothing" in (result.error or "")
