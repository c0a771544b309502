"""What scorers have in common: limits, statuses, errors, and judging by a test in another process.

Every test gets a fresh process of the program, so that no test sees what another left. What this
does *not* cover: where a method of the program's own would decide (``__eq__``, ``__lt__``,
``__bool__``...), or the test acts on its own process (mocks, seeds), the test is
`TestStatus.UNSUPPORTED` with the reason, and there is no second try inside the program's process,
where the program could read the test and forge its outcome: that is what the scorer ``inprocess``
is for. And a program that recognises a call's arguments can answer it by rote, as in any test.
"""

from __future__ import annotations

import ast
import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar

from attrs import frozen

from egcfg.errors import UsageError
from egcfg.interfaces.problem import Problem, TestCase
from egcfg.interfaces.scorer import Score, Scorer, TestResult, TestStatus
from egcfg.sandbox.judging import Finding, Judgement, Verdict
from egcfg.sandbox.service import Sandbox
from egcfg.sandbox.types import ExecutionResult, Limits, Outcome, Raised
from egcfg.scorers.test_source import (
    SAYS_NOTHING,
    assigned_names,
    free_modules,
    reason_against,
    used_builtins,
)

__all__ = [
    "JudgedScorer",
    "JudgedTest",
    "ScorerOptions",
    "ended",
    "no_code",
    "raised_text",
    "wrong_kind",
]

logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class ScorerOptions:
    """What a judged program may use, for each test.

    Attributes:
        cpu_seconds: processor time.
        wall_seconds: real time.
        memory_bytes: address space.
    """

    cpu_seconds: float = Limits().cpu_seconds
    wall_seconds: float = Limits().wall_seconds
    memory_bytes: int = Limits().memory_bytes

    @property
    def limits(self) -> Limits:
        """The limits for the sandbox."""
        return Limits(
            cpu_seconds=self.cpu_seconds,
            wall_seconds=self.wall_seconds,
            memory_bytes=self.memory_bytes,
        )


_ENDS = {
    Outcome.TIMEOUT: TestStatus.TIMEOUT,
    Outcome.MEMORY: TestStatus.MEMORY,
    Outcome.SANDBOX_ERROR: TestStatus.SANDBOX_ERROR,
}


@frozen(kw_only=True)
class JudgedTest:
    """A test that runs in a judge's process.

    Attributes:
        name: its key in a result.
        source: its code.
        tree: the same, parsed.
        entry_point: the function that it is about.
        uses_program: whether it says anything about a program.
        call_check: whether it defines ``check``, which is to be called with the function.
    """

    name: str
    source: str
    tree: ast.Module
    entry_point: str
    uses_program: bool
    call_check: bool = False


class JudgedScorer(Scorer):
    """Judges by tests in a judge's process; what they are is a subclass's to say."""

    Options: ClassVar[type] = ScorerOptions

    def __init__(self, options: ScorerOptions) -> None:
        self.options = options

    @abstractmethod
    def tests(self, problem: Problem) -> Iterator[JudgedTest]:
        """Yield the scoring tests of a problem.

        Raises:
            UsageError: one is of another kind, or no Python.
        """

    def check(self, problem: Problem) -> None:
        """See that every test can be used; warn of those that it is plain cannot be judged.

        Raises:
            UsageError: as `tests`; or a test says nothing about any program.
        """
        for name, judgement in self._judgements(problem, "").items():
            reason = judgement.unsupported
            if reason == SAYS_NOTHING:
                raise UsageError(
                    f"task {problem.task_id}: {reason}; correct or remove it: {name[:200]}"
                )
            if reason is not None:
                told = (problem.task_id, name[:100], reason)
                logger.warning("task %s: the test %r is unsupported: %s", *told)

    async def score(self, problem: Problem, code: str, sandbox: Sandbox) -> Score:
        """Judge `code` by each test, every one with a fresh process of the program.

        Raises:
            SandboxError: the sandbox runs no program, not even an empty one.
            UsageError: as `tests`.
        """
        judgements = self._judgements(problem, code)
        if not code.strip():
            return no_code(judgements)
        judged = {name: one for name, one in judgements.items() if one.unsupported is None}
        verdicts = dict(zip(judged, await sandbox.judge(list(judged.values())), strict=True))
        results = [
            _result(name, verdicts[name]) if name in verdicts else _refused(name, one)
            for name, one in judgements.items()
        ]
        return Score(results=results, general_error=_general_error(list(verdicts.values())))

    def _judgements(self, problem: Problem, code: str) -> dict[str, Judgement]:
        return {
            test.name: Judgement(
                source=code,
                test=test.source,
                entry_point=test.entry_point,
                call_check=test.call_check,
                setup=problem.setup_code,
                given=problem.given_code,
                modules=free_modules(test.tree),
                assigned=assigned_names(test.tree),
                builtins=used_builtins(test.tree),
                limits=problem.limits(self.options.limits),
                unsupported=reason_against(test.tree) if test.uses_program else SAYS_NOTHING,
            )
            for test in self.tests(problem)
        }


def no_code(names: Iterable[str]) -> Score:
    """Return the score of an empty solution."""
    results = [
        TestResult(name=name, status=TestStatus.ERROR, seconds=0.0, error="there is no code")
        for name in names
    ]
    return Score(results=results, general_error="there is no code")


def ended(program: ExecutionResult, seen: str = "") -> tuple[TestStatus, str]:
    """Return what it says about a test that the program's process ended this way.

    Args:
        program: how it ended.
        seen: what the judge saw of it.
    """
    status = _ENDS.get(program.outcome, TestStatus.ERROR)
    if program.raised is not None:
        return status, raised_text(program.raised)
    return status, program.detail or f"the program does not answer any more{seen and f': {seen}'}"


def raised_text(raised: Raised) -> str:
    """Return an exception in one line."""
    place = f" (line {raised.line})" if raised.line is not None else ""
    return _one_line(f"{raised.type}: {raised.message}{place}")


def wrong_kind(problem: Problem, test: TestCase, scorer: str, wanted: str) -> UsageError:
    """Return the error for a test that a scorer does not know."""
    return UsageError(
        f"task {problem.task_id}: the scorer {scorer!r} takes {wanted}, not "
        f"{type(test).__name__}; choose the scorer that fits the tests"
    )


def _result(name: str, verdict: Verdict) -> TestResult:
    status, error = _status(verdict)
    return TestResult(
        name=name,
        status=status,
        seconds=verdict.program.seconds,
        packages=verdict.program.packages,
        error=None if status is TestStatus.PASSED else error,
    )


def _refused(name: str, judgement: Judgement) -> TestResult:
    return TestResult(
        name=name, status=TestStatus.UNSUPPORTED, seconds=0.0, error=judgement.unsupported
    )


def _status(verdict: Verdict) -> tuple[TestStatus, str]:
    message = _one_line(verdict.message)
    match verdict.finding:
        case Finding.UNANSWERED:
            return ended(verdict.program, message)
        case Finding.FAILED:
            return TestStatus.FAILED, message or "the assertion does not hold"
        case finding:
            return TestStatus(finding.value), message


def _general_error(verdicts: list[Verdict]) -> str | None:
    """Return what kept the program from loading at all, if that is so in every test."""
    errors = {
        raised_text(verdict.program.raised)
        for verdict in verdicts
        if verdict.program.raised is not None
    }
    loaded = any(verdict.program.raised is None for verdict in verdicts)
    return errors.pop() if len(errors) == 1 and not loaded else None


def _one_line(text: str) -> str:
    return " ".join(text.split())
