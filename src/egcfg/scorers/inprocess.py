"""Judges by tests that run in the program's own process: mocks, ``unittest``, files of the test.

Such a test shares the program's interpreter, so the program could read it, or change what its
assertions mean: every score says `Score.forgeable`. The sandbox holds as for any program. Use it
where ``asserts`` and ``check`` say that a test must share the program's process.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import evolve

from egcfg.errors import UsageError
from egcfg.interfaces.problem import AssertTest, CheckTest, Problem, TestCase
from egcfg.interfaces.scorer import Score, Scorer, TestResult, TestStatus
from egcfg.sandbox.service import Sandbox
from egcfg.sandbox.types import Call, Execution, ExecutionResult, Outcome
from egcfg.scorers.judged import ScorerOptions, ended, no_code, wrong_kind
from egcfg.scorers.test_source import SAYS_NOTHING, asks_something, parse_test

__all__ = ["InprocessScorer"]

# Runs beside the program. `names` are the program's, `test` is the test's source, `function` the
# name of the function for check(), or None.
RUNNER = """
import sys

sys.modules["__main__"] = sys.modules[names["__name__"]]
sys.argv[1:] = []
known = set(names)
ran = []

def succeed(result):
    ran.append(result)
    if not result.testsRun:
        raise AssertionError("no test case ran")
    if not result.wasSuccessful():
        failed = [*result.failures, *result.errors]
        text = failed[0][1].strip().splitlines()[-1] if failed else "an unexpected success"
        raise AssertionError(text)

if "unittest" in test:
    import unittest

    def main(*args, **settings):
        succeed(unittest.TestProgram(*args, **{**settings, "exit": False}).result)

    unittest.main = main
exec(compile(test, "<test>", "exec", dont_inherit=True), names)
if function is not None:
    names["check"](names[function])
if "unittest" in test and not ran:
    cases = [
        value
        for name, value in names.items()
        if name not in known and isinstance(value, type) and issubclass(value, unittest.TestCase)
    ]
    if cases:
        load = unittest.defaultTestLoader.loadTestsFromTestCase
        result = unittest.TestResult()
        unittest.TestSuite(map(load, cases)).run(result)
        succeed(result)
"""


class InprocessScorer(Scorer):
    """Asserts, checks and unittest cases in the program's own process; forgeable."""

    Options: ClassVar[type] = ScorerOptions

    def __init__(self, options: ScorerOptions) -> None:
        self.options = options

    def check(self, problem: Problem) -> None:
        """See that every test is code.

        Raises:
            UsageError: one is neither an assert nor a check function, no Python, or uses nothing
                of the program.
        """
        for name, execution in self._executions(problem, "").items():
            if execution is None:
                raise UsageError(
                    f"task {problem.task_id}: {SAYS_NOTHING}; correct or remove it: {name[:200]}"
                )

    async def score(self, problem: Problem, code: str, sandbox: Sandbox) -> Score:
        """Judge `code` by each test, every one with a fresh process.

        Raises:
            SandboxError: the sandbox runs no program, not even an empty one.
            UsageError: as `check`.
        """
        executions = self._executions(problem, code)
        if not code.strip():
            return evolve(no_code(executions), forgeable=True)
        run = {name: one for name, one in executions.items() if one is not None}
        ends = dict(zip(run, await sandbox.run(list(run.values())), strict=True))
        return Score(results=[_result(name, ends.get(name)) for name in executions], forgeable=True)

    def _executions(self, problem: Problem, code: str) -> dict[str, Execution | None]:
        """Return what to run by the test's name; None for a test that says nothing."""
        setup = parse_test(problem.setup_code, problem)
        executions: dict[str, Execution | None] = {}
        for test in problem.scoring_tests:
            source, function = _source(problem, test)
            entry_point = function or problem.entry_point or ""
            handed = None if function is None else "check"
            if not asks_something(parse_test(source, problem), entry_point, setup, handed):
                executions[test.name] = None
                continue
            names = f"{{'names': globals(), 'test': {source!r}, 'function': {function!r}}}"
            executions[test.name] = Execution(
                source=code,
                setup=problem.setup_code,
                call=Call(f"exec(compile({RUNNER!r}, '<test>', 'exec'), {names})"),
                limits=problem.limits(self.options.limits),
                keep_output=False,
            )
        return executions


def _source(problem: Problem, test: TestCase) -> tuple[str, str | None]:
    """Return a test's code, and the function that its ``check`` is called with."""
    if isinstance(test, CheckTest):
        return test.source, test.entry_point
    if isinstance(test, AssertTest):
        return test.source, None
    raise wrong_kind(problem, test, "inprocess", "assert statements and check functions")


def _result(name: str, end: ExecutionResult | None) -> TestResult:
    if end is None:
        return TestResult(name=name, status=TestStatus.UNSUPPORTED, seconds=0.0, error=SAYS_NOTHING)
    if end.outcome is Outcome.OK:
        return TestResult(
            name=name, status=TestStatus.PASSED, seconds=end.seconds, packages=end.packages
        )
    status, error = ended(end)
    raised = end.raised
    # An assertion of the program's own has a line of the program.
    if raised is not None and raised.type == "AssertionError" and raised.line is None:
        status, error = TestStatus.FAILED, raised.message or "the assertion does not hold"
    return TestResult(
        name=name, status=status, seconds=end.seconds, error=error, packages=end.packages
    )
