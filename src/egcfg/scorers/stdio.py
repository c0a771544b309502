"""Judges whole programs by what they print for an input.

Output is compared in the parent, which the program never was in; a test's `Comparison` says what
makes no difference. A checker, which is the data set's own code, runs in a process of its own after
the program's has ended. The program runs as ``__main__``, as under ``python file.py``. Where the
problem has an entry point that running the program does not use, a call of it is the last line.
A program that ends itself by ``os._exit`` or by a signal does not pass, whatever it printed; nor
does output that is no UTF-8.
"""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from attrs import evolve, field, frozen, validators

from egcfg.errors import UsageError
from egcfg.interfaces.problem import (
    Comparison,
    IgnoredWhitespace,
    Problem,
    StdioTest,
    uses_when_run,
)
from egcfg.interfaces.scorer import Score, Scorer, TestResult, TestStatus
from egcfg.sandbox.service import Sandbox
from egcfg.sandbox.types import Call, Execution, ExecutionResult, Limits, Outcome
from egcfg.scorers.comparison import first_difference
from egcfg.scorers.judged import ScorerOptions, ended, no_code, wrong_kind

__all__ = ["StdioOptions", "StdioScorer"]


@frozen(kw_only=True)
class StdioOptions(ScorerOptions):
    """What a judged program may use, and when its output counts as the expected one.

    The rule and the checker are for tests that bring none themselves.

    Attributes:
        output_bytes: standard output; twice the expected output is allowed in any case.
        ignore_whitespace: as in `Comparison`: none, trailing, inline or all.
        ignore_case: as in `Comparison`.
        absolute_tolerance: as in `Comparison`.
        relative_tolerance: as in `Comparison`.
        checker: file of a checker, as in `StdioTest`. None: outputs are compared.
    """

    output_bytes: int = field(default=Limits().output_bytes, validator=validators.ge(1))
    ignore_whitespace: IgnoredWhitespace = Comparison().ignore_whitespace
    ignore_case: bool = Comparison().ignore_case
    absolute_tolerance: float = field(default=0.0, validator=validators.ge(0))
    relative_tolerance: float = field(default=0.0, validator=validators.ge(0))
    checker: Path | None = None

    @property
    def comparison(self) -> Comparison:
        """The rule for tests that bring none."""
        return Comparison(
            ignore_whitespace=self.ignore_whitespace,
            ignore_case=self.ignore_case,
            absolute_tolerance=self.absolute_tolerance,
            relative_tolerance=self.relative_tolerance,
        )


class StdioScorer(Scorer):
    """Standard input and expected standard output."""

    Options: ClassVar[type] = StdioOptions

    def __init__(self, options: StdioOptions) -> None:
        """Take the options.

        Raises:
            UsageError: the checker's file cannot be read, or is no checker.
        """
        self.options = options
        self._checker: str | None = None
        if options.checker is not None:
            try:
                self._checker = options.checker.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise UsageError(
                    f"scorer.checker: cannot read {options.checker}: {reason}; check the path"
                ) from error
            if fault := fault_in_checker(self._checker):
                raise UsageError(f"scorer.checker: {options.checker} {fault}")

    def check(self, problem: Problem) -> None:
        """See that every test is a pair of input and output.

        Raises:
            UsageError: one is no `StdioTest`, or its checker is none.
        """
        for test in self._tests(problem):
            if test.checker is not None and (fault := fault_in_checker(test.checker)):
                raise UsageError(f"task {problem.task_id}: the checker {fault}")

    async def score(self, problem: Problem, code: str, sandbox: Sandbox) -> Score:
        """Judge `code` by each pair of input and output.

        Raises:
            SandboxError: the sandbox runs no program, not even an empty one.
            UsageError: as `check`.
        """
        self.check(problem)
        tests = self._tests(problem)
        if not code.strip():
            return no_code(test.name for test in tests)
        runs = await self._run(problem, code, tests, sandbox)
        checked = [
            at
            for at, (test, run) in enumerate(zip(tests, runs, strict=True))
            if self._has_checker(test) and _ended_with_text(run)
        ]
        checks = await sandbox.run([self._checking(tests[at], runs[at]) for at in checked])
        answers = dict(zip(checked, checks, strict=True))

        def results() -> list[TestResult]:
            return [
                self._result(test, run, answers.get(at))
                for at, (test, run) in enumerate(zip(tests, runs, strict=True))
            ]

        # In a thread: long outputs take a while, and other programs are watched meanwhile.
        return Score(results=await asyncio.to_thread(results))

    async def _run(
        self, problem: Problem, code: str, tests: Sequence[StdioTest], sandbox: Sandbox
    ) -> list[ExecutionResult]:
        """Run the program on each input."""
        function = problem.entry_point
        calling = code if function is None else f"{code}\n{function}()\n"
        runs_itself = function is None or uses_when_run(code, function)
        executions = [
            Execution(
                source=code if runs_itself else calling,
                setup=problem.setup_code,
                stdin=test.stdin,
                run_as_main=True,
                limits=self._limits(problem, test),
            )
            for test in tests
        ]
        results = await sandbox.run(executions)
        if function is None or not runs_itself:
            return results
        # One that prints nothing may name it without a call, as in ``solve = cache(solve)``.
        silent = [
            at
            for at, result in enumerate(results)
            if result.outcome is Outcome.OK and not result.stdout
        ]
        again = [evolve(executions[at], source=calling) for at in silent]
        for at, result in zip(silent, await sandbox.run(again), strict=True):
            if result.stdout:
                results[at] = result
        return results

    def _limits(self, problem: Problem, test: StdioTest) -> Limits:
        expected = len(test.stdout.encode("utf-8", "surrogatepass"))
        output_bytes = max(self.options.output_bytes, 2 * expected)
        return evolve(problem.limits(self.options.limits), output_bytes=output_bytes)

    def _result(
        self, test: StdioTest, run: ExecutionResult, check: ExecutionResult | None
    ) -> TestResult:
        """Return what a run, and the checker's if there was one, say about a test."""
        status, error = TestStatus.PASSED, None
        if run.outcome is not Outcome.OK:
            status, error = ended(run)
        elif run.undecodable:
            status, error = TestStatus.FAILED, "its output is no UTF-8 text"
        elif check is not None:
            status, error = _checked(check)
        else:
            rule = test.comparison or self.options.comparison
            if (error := first_difference(run.stdout, test.stdout, rule)) is not None:
                status = TestStatus.FAILED
        return TestResult(
            name=test.name,
            status=status,
            seconds=run.seconds,
            error=error,
            packages=run.packages,
        )

    def _has_checker(self, test: StdioTest) -> bool:
        # A rule of the test's own comes before the checker of the options.
        return test.checker is not None or (test.comparison is None and self._checker is not None)

    def _checking(self, test: StdioTest, result: ExecutionResult) -> Execution:
        """Return the run of a checker on what a program printed."""
        return Execution(
            source=test.checker or self._checker or "",
            call=Call(f"check({test.stdin!r}, {result.stdout!r}, {test.stdout!r})"),
            limits=self.options.limits,
            keep_output=False,
        )

    def _tests(self, problem: Problem) -> list[StdioTest]:
        tests = []
        for test in problem.scoring_tests:
            if not isinstance(test, StdioTest):
                raise wrong_kind(problem, test, "stdio", "pairs of input and output")
            tests.append(test)
        return tests


def fault_in_checker(source: str) -> str | None:
    """Return what is wrong with a checker's code, and what to do; None: it defines ``check``."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError) as error:
        return f"is no Python: {error}; correct it"
    if any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in body):
        return None
    return "defines no function 'check'; add def check(input, output, expected)"


def _ended_with_text(run: ExecutionResult) -> bool:
    return run.outcome is Outcome.OK and not run.undecodable


def _checked(answer: ExecutionResult) -> tuple[TestStatus, str | None]:
    """Return what a checker's run says about a test."""
    if answer.value is True:
        return TestStatus.PASSED, None
    if answer.value is False:
        return TestStatus.FAILED, "the checker refuses the output"
    if answer.outcome is Outcome.OK:
        return TestStatus.ERROR, "the checker returned neither True nor False; correct it"
    status, error = ended(answer)
    # Often it is the output that a checker cannot read; if not, the message shows its fault.
    failed = TestStatus.FAILED if answer.outcome is Outcome.EXCEPTION else status
    return failed, f"the checker ended by {error}"
