"""Judges whole programs by what they print for an input.

Output is compared in the parent, which the program never was in: line by line, without trailing
blanks, and without trailing empty lines. Where the problem has an entry point, the program
defines that function, which is then called; else it runs as ``__main__``. A program that ends
itself by ``os._exit`` or by a signal does not pass, whatever it printed.
"""

from __future__ import annotations

from typing import ClassVar

from egcfg.interfaces.problem import Problem, StdioTest
from egcfg.interfaces.scorer import Score, Scorer, TestResult, TestStatus
from egcfg.sandbox.service import Sandbox
from egcfg.sandbox.types import Call, Execution, ExecutionResult, Outcome
from egcfg.scorers.judged import ScorerOptions, ended, no_code, wrong_kind

__all__ = ["StdioScorer"]


class StdioScorer(Scorer):
    """Standard input and expected standard output."""

    Options: ClassVar[type] = ScorerOptions

    def __init__(self, options: ScorerOptions) -> None:
        self.options = options

    def check(self, problem: Problem) -> None:
        """See that every test is a pair of input and output.

        Raises:
            UsageError: one is no `StdioTest`.
        """
        self._tests(problem)

    async def score(self, problem: Problem, code: str, sandbox: Sandbox) -> Score:
        """Judge `code` by each pair of input and output.

        Raises:
            SandboxError: the sandbox failed twice on the same test.
            UsageError: as `check`.
        """
        tests = self._tests(problem)
        if not code.strip():
            return no_code(test.name for test in tests)
        # What the function returns does not matter, and must not be in the way.
        function = problem.entry_point
        call = None if function is None else Call(f"({function}(), None)[1]")
        results = await sandbox.run(
            [
                Execution(
                    source=code,
                    setup=problem.setup_code,
                    call=call,
                    stdin=test.stdin,
                    run_as_main=call is None,
                    limits=self.options.limits,
                )
                for test in tests
            ]
        )
        return Score(results=[_judge(*pair) for pair in zip(tests, results, strict=True)])

    def _tests(self, problem: Problem) -> list[StdioTest]:
        tests = []
        for test in problem.scoring_tests:
            if not isinstance(test, StdioTest):
                raise wrong_kind(problem, test, "stdio", "pairs of input and output")
            tests.append(test)
        return tests


def _judge(test: StdioTest, result: ExecutionResult) -> TestResult:
    status, error = _status(test, result)
    return TestResult(
        name=test.name,
        status=status,
        seconds=result.seconds,
        error=error,
        packages=result.packages,
    )


def _status(test: StdioTest, result: ExecutionResult) -> tuple[TestStatus, str | None]:
    if result.outcome is not Outcome.OK and not _exited_well(result):
        return ended(result)
    expected, printed = _lines(test.stdout), _lines(result.stdout)
    if printed == expected:
        return TestStatus.PASSED, None
    for number, (wanted, line) in enumerate(zip(expected, printed, strict=False), start=1):
        if wanted != line:
            return TestStatus.FAILED, f"line {number} is {line[:80]!r}, not {wanted[:80]!r}"
    return TestStatus.FAILED, f"it printed {len(printed)} lines, not {len(expected)}"


def _exited_well(result: ExecutionResult) -> bool:
    """Return whether the function left by a plain sys.exit: as good an end as any."""
    raised = result.raised
    return raised is not None and raised.type == "SystemExit" and raised.message in ("", "0")


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]
