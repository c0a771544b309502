"""The result of one unit: one solution, its verdict, and what they cost."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
from attrs import field, frozen

from egcfg.errors import ContextOverflowError
from egcfg.interfaces.scorer import TestStatus
from egcfg.interfaces.solution import Generation, Solution
from egcfg.interfaces.usage import Usage

__all__ = ["COUNTERS", "Result", "ResultStats", "TestVerdict"]

COUNTERS = (
    *("signals", "signals_cut", "signals_empty"),
    *("tokens_changed", "tokens_drafted", "uncertain_choices", "near_ties", "rollbacks"),
)


@frozen(kw_only=True)
class TestVerdict:
    """The verdict of one test.

    Attributes:
        passed: whether it passed (``result`` in the file).
        seconds: wall time of its execution (``time``).
        error: one line on what went wrong (``error``).
        status: a `TestStatus` value; None in files of older tools.
    """

    __test__ = False  # not a pytest class

    passed: bool
    seconds: float = 0.0
    error: str | None = None
    status: str | None = None


@frozen(kw_only=True)
class ResultStats:
    """What a solution cost.

    Attributes:
        start_time: when decoding started, as written (ISO 8601 in files of ours).
        end_time: when scoring ended, likewise.
        input_tokens: prompt tokens sent or processed.
        output_tokens: tokens generated, chosen or sampled.
        seconds: wall time; files of older tools round it to whole seconds (``duration``).
        execution_seconds: the part of it in which candidates ran under the tracer.
        usage: exact counters by stage; empty in files of older tools.
        signals: signals made.
        signals_cut: signals shortened for a budget.
        signals_empty: signals that showed nothing, so that nothing guided.
        tokens_changed: tokens where guidance overruled the unconditional model.
        tokens_drafted: tokens accepted from drafts.
        uncertain_choices: choices that a top-k list could not decide with certainty.
        near_ties: choices so close that rounding might have turned them.
        rollbacks: how often it went back to an earlier line.
        calls: questions that the model had to work for; None: nobody wrote it down.
        executions: programs that ran before the verdict; None: nobody wrote it down.
        concurrency: units that the process had in flight at most; above 1 `seconds` are shared
            with them, and tell nothing about this one.
    """

    start_time: str | None = None
    end_time: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    execution_seconds: float = 0.0
    usage: Mapping[str, Usage] = field(factory=dict)
    signals: int = 0
    signals_cut: int = 0
    signals_empty: int = 0
    tokens_changed: int = 0
    tokens_drafted: int = 0
    uncertain_choices: int = 0
    near_ties: int = 0
    rollbacks: int = 0
    calls: int | None = None
    executions: int | None = None
    concurrency: int = 1

    @property
    def total_usage(self) -> Usage:
        """The counters of all stages together."""
        return sum(self.usage.values(), Usage())


@frozen(kw_only=True)
class Result:
    """The content of a result file.

    Attributes:
        code: the program.
        tests: verdict per test, by the test's name (``results``).
        passed: whether every test passed.
        accuracy: share of the tests that passed.
        general_error: why no test could be run; None otherwise.
        has_testcase_error: whether a test ended otherwise than passed or failed.
        forgeable: whether the tests ran where the program could change what they find.
        stats: what it cost; None where an older tool left it out.
        global_cached: the unit was skipped because another unit had solved its task; `code` and
            the verdict are that one's and say nothing about this configuration.
        response: the model's whole response.
        finish: a `FinishReason` value.
        problem_sha256: fingerprint of the problem that was solved.
        attempts: every answer of the method, in their order: the program's fingerprint, its stage,
            whether it passed (and, as ``visible``, the visible tests), and what the task had cost
            by then (``tokens``, as `Usage.tokens`; ``usage``, ``calls``, ``executions``).
        events: how often the method noted what.
        unfinished: whether the end of the run's budget cut the method short; a run with more to
            spend does the unit anew.
        tests_seen: names of the tests that the decoder saw; None where nobody wrote that down.
        resolved: what ``auto`` among the backend's options came to, see `Backend.resolved`.
        sandbox: under what isolation programs ran: each layer is "active", or says why not;
            then what else was found, such as how limits of time are meant.
        packages: those that the program imported, as ``name==version``.
        record: name of the file beside it that tells how it came about; None: there is none.
        extra: fields of other tools, kept as they were.
    """

    code: str = ""
    tests: Mapping[str, TestVerdict] = field(factory=dict)
    passed: bool = False
    accuracy: float = 0.0
    general_error: str | None = None
    has_testcase_error: bool = False
    forgeable: bool = False
    stats: ResultStats | None = None
    global_cached: bool = False
    response: str | None = None
    finish: str | None = None
    problem_sha256: str | None = None
    attempts: tuple[Mapping[str, Any], ...] = ()
    events: Mapping[str, int] = field(factory=dict)
    unfinished: bool = False
    tests_seen: tuple[str, ...] | None = None
    resolved: Mapping[str, str] = field(factory=dict)
    sandbox: Mapping[str, str] | None = None
    packages: tuple[str, ...] = ()
    record: str | None = None
    extra: Mapping[str, Any] = field(factory=dict, repr=False)

    @classmethod
    def of_solution(
        cls, solution: Solution, problem_sha256: str | None = None, *, concurrency: int = 1
    ) -> Result:
        """Return the result of a judged solution."""
        tests: dict[str, TestVerdict] = {}
        for test in solution.score.results:
            # Equal tests keep a verdict each.
            name, copy = test.name, 1
            while name in tests:
                copy += 1
                name = f"{test.name} ({copy})"
            tests[name] = TestVerdict(
                passed=test.status is TestStatus.PASSED,
                seconds=test.seconds,
                error=test.error,
                status=test.status.value,
            )
        judged = (TestStatus.PASSED, TestStatus.FAILED)
        return cls(
            code=solution.code,
            tests=tests,
            passed=solution.passed,
            accuracy=solution.score.accuracy,
            general_error=solution.score.general_error,
            has_testcase_error=any(t.status not in judged for t in solution.score.results),
            forgeable=solution.score.forgeable,
            stats=attrs.evolve(
                _stats(solution.generation, solution.started, solution.ended),
                calls=solution.spent.calls,
                executions=solution.spent.executions,
                concurrency=concurrency,
            ),
            response=solution.generation.response,
            finish=solution.generation.finish.value,
            problem_sha256=problem_sha256,
            attempts=tuple(
                {
                    "sha256": hashlib.sha256(
                        each.program.encode("utf-8", "surrogatepass")
                    ).hexdigest(),
                    "stage": each.stage,
                    "passed": each.passed,
                    "visible": each.visible,
                    "tokens": each.tokens,
                    "calls": each.spent.calls,
                    "executions": each.spent.executions,
                    "usage": attrs.asdict(each.spent.usage),
                }
                for each in solution.attempts
            ),
            events=dict(solution.events),
            unfinished=solution.unfinished,
            tests_seen=solution.tests_seen,
            resolved=dict(solution.resolved),
            sandbox=dict(solution.isolation),
            packages=solution.score.packages,
        )

    @classmethod
    def of_overflow(
        cls,
        error: ContextOverflowError,
        started: datetime,
        ended: datetime,
        problem_sha256: str | None = None,
        *,
        concurrency: int = 1,
    ) -> Result:
        """Return the result of a problem that is too long for the model: not solved, for good."""
        return cls(
            general_error=str(error),
            stats=ResultStats(
                start_time=started.isoformat(),
                end_time=ended.isoformat(),
                seconds=(ended - started).total_seconds(),
                concurrency=concurrency,
            ),
            problem_sha256=problem_sha256,
        )

    @property
    def has_sandbox_error(self) -> bool:
        """Whether the sandbox failed on a test, which says nothing about the solution."""
        return any(t.status == TestStatus.SANDBOX_ERROR for t in self.tests.values())

    def as_cached(self) -> Result:
        """Return the entry of a unit that is skipped because this result solved its task."""
        return attrs.evolve(
            self, global_cached=True, stats=None, response=None, finish=None, record=None
        )


def _stats(generation: Generation, started: datetime, ended: datetime) -> ResultStats:
    total = generation.total_usage
    return ResultStats(
        start_time=started.isoformat(),
        end_time=ended.isoformat(),
        input_tokens=total.input_tokens,
        output_tokens=total.output_tokens,
        seconds=(ended - started).total_seconds(),
        execution_seconds=generation.execution_seconds,
        usage={str(stage): usage for stage, usage in generation.usage.items()},
        **{name: getattr(generation, name) for name in COUNTERS},
    )
