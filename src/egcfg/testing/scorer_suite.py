"""What every scorer must keep."""

from __future__ import annotations

from typing import ClassVar
from unittest import SkipTest

from attrs import evolve

from egcfg.errors import UsageError
from egcfg.interfaces.problem import AssertTest, CheckTest, Problem, StdioTest
from egcfg.interfaces.scorer import Score, TestStatus
from egcfg.plugins.hookspecs import Kind
from egcfg.testing.examples import RIGHT, RIGHT_WHOLE, WRONG, WRONG_WHOLE
from egcfg.testing.suite import SandboxedSuite, require

__all__ = ["ScorerSuite"]

_CHECK = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(5) == 10\n"
_ASKED = [AssertTest("assert f(2) == 4"), AssertTest("assert f(5) == 10")]
_LINES = [StdioTest("a\n", "a\n"), StdioTest("b c\n", "b c\n")]
_WITH_TESTS = Problem(task_id="1", description="Double.", entry_point="f", visible_tests=_ASKED)
EXAMPLES = (
    (_WITH_TESTS, RIGHT, WRONG),
    (evolve(_WITH_TESTS, hidden_tests=[CheckTest(_CHECK, "f")]), RIGHT, WRONG),
    (
        Problem(task_id="1", description="Echo.", entry_point=None, visible_tests=_LINES),
        RIGHT_WHOLE,
        WRONG_WHOLE,
    ),
)


class ScorerSuite(SandboxedSuite):
    """Checks of a scorer, on `problem` or on the first example that its ``check`` takes.

    A scorer of tests of its own kind needs all three of `problem`, `right` and `wrong`.
    """

    kind = Kind.SCORER

    problem: ClassVar[Problem | None] = None
    """What is judged; its `right` solution passes every test, and its `wrong` one none."""

    right: ClassVar[str] = RIGHT
    wrong: ClassVar[str] = WRONG

    @classmethod
    def setup_class(cls) -> None:
        """Find a problem that the scorer takes."""
        super().setup_class()
        if cls.problem is not None:
            return
        for problem, right, wrong in EXAMPLES:
            try:
                cls.opened.ask("check", problem)
            except UsageError:
                continue
            cls.problem, cls.right, cls.wrong = problem, right, wrong
            return

    def score(self, code: str) -> Score:
        """Judge a program."""
        if self.problem is None:
            raise SkipTest(
                "it takes none of the example tests: subclass ScorerSuite with problem, right "
                "and wrong"
            )
        score = self.call("score", self.problem, code, self.sandbox)
        require(isinstance(score, Score), f"score gave {type(score).__name__}: return a Score")
        assert isinstance(score, Score)
        return score

    def test_a_right_program_passes(self) -> None:
        """Every test of a right solution passes."""
        score = self.score(self.right)
        require(score.passed, f"a right program does not pass: {_told(score)}")

    def test_each_test_has_its_verdict_in_order(self) -> None:
        """There is a result per test, by the test's name."""
        score = self.score(self.right)
        assert self.problem is not None
        names = [result.name for result in score.results]
        wanted = [test.name for test in self.problem.scoring_tests]
        require(
            names == wanted,
            f"the results are {names}, the tests {wanted}: give one TestResult(name=test.name) "
            "per test, in their order",
        )

    def test_a_wrong_program_fails_every_test(self) -> None:
        """A program that gives other values does not pass."""
        score = self.score(self.wrong)
        passed = [each.name for each in score.results if each.status is TestStatus.PASSED]
        require(not passed, f"a wrong program passes {passed}: compare what it gives")
        require(
            all(each.error for each in score.results),
            "a failed test has no error: say in one line what went wrong",
        )

    def test_what_is_no_program_does_not_pass(self) -> None:
        """A syntax error, or nothing at all, is a verdict and no exception."""
        for code in ("def f(:\n", ""):
            require(not self.score(code).passed, f"the text {code!r} passes as a program")

    def test_a_program_that_leaves_does_not_pass(self) -> None:
        """A program that ends its process early has shown nothing."""
        for way in ("raise SystemExit(0)", "import os\nos._exit(0)"):
            require(
                not self.score(f"{way}\n{self.right}").passed,
                f"a program that begins with `{way}` passes: count only values that came back",
            )

    def test_a_program_cannot_say_that_it_is_right(self) -> None:
        """A value that claims to equal everything does not pass, or the score is forgeable."""
        forged = "class Equal:\n    __eq__ = lambda *_: True\n    __hash__ = None\n"
        score = self.score(f"{forged}\ndef f(x):\n    return Equal()\n")
        require(
            not score.passed or score.forgeable,
            "a value whose __eq__ is always true passes: compare in a process that the program "
            "never ran in, with values that came back, or say Score(forgeable=True)",
        )

    def test_a_program_that_never_ends_is_stopped(self) -> None:
        """The sandbox ends it, which is a verdict."""
        endless = "while True:\n    pass\n"
        score = self.score(endless)
        stopped = {TestStatus.TIMEOUT, TestStatus.ERROR, TestStatus.FAILED}
        require(
            not score.passed and {each.status for each in score.results} <= stopped,
            f"an endless program ends with {_told(score)}: map Outcome.TIMEOUT to "
            "TestStatus.TIMEOUT",
        )


def _told(score: Score) -> str:
    if score.general_error:
        return score.general_error
    return "; ".join(f"{each.name}: {each.status} {each.error or ''}" for each in score.results)
