"""The result file of one unit: one solution, its verdict, and what they cost.

The fields ``code``, ``results``, ``passed``, ``accuracy``, ``general_error``,
``has_testcase_error`` and ``stats`` (``start_time``, ``end_time``, ``input_tokens``,
``output_tokens``, ``duration``) have the names and forms that published result folders use. All
others were added. A file that an older tool wrote reads well, and what is unknown in it is kept:
what only tells about a verdict is read as well as it can be, and no reason to lose the verdict.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

import attrs
import msgspec
import orjson
from attrs import field, frozen

from egcfg.errors import ContextOverflowError
from egcfg.interfaces.scorer import TestStatus
from egcfg.interfaces.solution import Generation, Solution
from egcfg.interfaces.usage import Usage

__all__ = [
    "MalformedResultError",
    "Result",
    "ResultStats",
    "TestVerdict",
    "dump_result",
    "load_result",
    "load_usage",
]

T = TypeVar("T")
DURATION = re.compile(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d(?:\.\d+)?)")
COUNTERS = (
    *("signals", "signals_cut", "signals_empty"),
    *("tokens_changed", "tokens_drafted", "uncertain_choices", "near_ties", "rollbacks"),
)
WORK = ("calls", "executions")


class MalformedResultError(ValueError):
    """The content of a result file cannot be understood; the message says where."""


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


def dump_result(result: Result) -> bytes:
    """Return the content of a result file."""
    content: dict[str, Any] = {
        "code": _storable(result.code),
        "results": {
            _storable(name): {
                "result": verdict.passed,
                "time": verdict.seconds,
                "error": _storable(verdict.error),
            }
            | ({} if verdict.status is None else {"status": verdict.status})
            for name, verdict in result.tests.items()
        },
        "passed": result.passed,
        "accuracy": result.accuracy,
        "general_error": _storable(result.general_error),
        "has_testcase_error": result.has_testcase_error,
    }
    if result.forgeable:
        content["forgeable"] = True
    if result.stats is not None:
        content["stats"] = _dump_stats(result.stats)
    if result.global_cached:
        content["global_cached"] = True
    for name in ("response", "finish", "problem_sha256", "record"):
        if getattr(result, name) is not None:
            content[name] = _storable(getattr(result, name))
    if result.attempts:
        content["attempts"] = list(result.attempts)
    if result.events:
        content["events"] = dict(result.events)
    if result.unfinished:
        content["unfinished"] = True
    if result.tests_seen is not None:
        content["tests_seen"] = [_storable(name) for name in result.tests_seen]
    if result.resolved:
        content["resolved"] = dict(result.resolved)
    if result.sandbox is not None:
        content["sandbox"] = dict(result.sandbox)
    if result.packages:
        content["packages"] = list(result.packages)
    return orjson.dumps({**result.extra, **content}, option=orjson.OPT_INDENT_2)


class _Verdict(msgspec.Struct):
    """A verdict as a file has it; what only tells about it may be anything."""

    result: bool = False
    time: Any = None
    error: Any = None
    status: Any = None


class _File(msgspec.Struct):
    """The fields of a file that are known."""

    code: str = ""
    results: dict[str, _Verdict] = {}
    passed: bool | None = None
    accuracy: float | None = None
    general_error: str | None = None
    has_testcase_error: bool = False
    forgeable: bool = False
    stats: ResultStats | None = None
    global_cached: bool = False
    response: str | None = None
    finish: str | None = None
    problem_sha256: str | None = None
    attempts: tuple[Any, ...] = ()
    events: dict[str, Any] = {}
    unfinished: bool = False
    tests_seen: tuple[Any, ...] | None = None
    resolved: dict[str, Any] = {}
    sandbox: dict[str, Any] | None = None
    packages: tuple[Any, ...] = ()
    record: str | None = None


class _Duration(msgspec.Struct):
    duration: str = ""


class _OldFile(msgspec.Struct):
    """Where a file of an older tool has the seconds."""

    stats: _Duration


_FILE: Final = msgspec.json.Decoder(_File)
_EVERY_FIELD: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OLD_FILE: Final = msgspec.json.Decoder(_OldFile)
_KNOWN: Final = frozenset(_File.__struct_fields__)


def load_result(data: bytes) -> Result:
    """Read the content of a result file, of whichever tool.

    Raises:
        MalformedResultError: it is no JSON object, or a known field has a wrong type.
    """
    try:
        file, fields = _FILE.decode(data), _EVERY_FIELD.decode(data)
    except (msgspec.DecodeError, RecursionError):
        data = _without_nulls(data)
        file, fields = _decode(data, _FILE), _decode(data, _EVERY_FIELD)
    tests = {
        name: TestVerdict(
            passed=each.result,
            seconds=_seconds(each.time),
            error=_one_text(each.error),
            status=_one_text(each.status),
        )
        for name, each in file.results.items()
    }
    cached, general_error = file.global_cached, file.general_error
    if "passed" not in fields and not (cached or general_error is not None or tests):
        raise MalformedResultError("it has none of the fields of a result")
    stats = file.stats
    if stats is not None and not stats.seconds:
        stats = attrs.evolve(stats, seconds=_seconds_of(_decode(data, _OLD_FILE).stats.duration))
    # A cached entry may hold nothing else: it is there because its task is solved.
    passed = cached or (bool(tests) and all(t.passed for t in tests.values()))
    share = sum(t.passed for t in tests.values()) / len(tests) if tests else float(passed)
    told: dict[str, Any] = msgspec.structs.asdict(file)
    del told["results"]
    told |= {
        "tests": tests,
        "passed": (passed and general_error is None) if file.passed is None else file.passed,
        "accuracy": share if file.accuracy is None else file.accuracy,
        "stats": stats,
        "tests_seen": None if file.tests_seen is None else tuple(map(str, file.tests_seen)),
        "packages": tuple(map(str, file.packages)),
        "extra": {name: orjson.loads(bytes(fields[name])) for name in fields.keys() - _KNOWN},
    }
    return Result(**told)


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


def _dump_stats(stats: ResultStats) -> dict[str, Any]:
    whole = round(stats.seconds)
    return {
        "start_time": stats.start_time,
        "end_time": stats.end_time,
        "input_tokens": stats.input_tokens,
        "output_tokens": stats.output_tokens,
        "duration": f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}",
        "seconds": stats.seconds,
        "execution_seconds": stats.execution_seconds,
        **{name: getattr(stats, name) for name in WORK if getattr(stats, name) is not None},
        "concurrency": stats.concurrency,
        "usage": {stage: attrs.asdict(usage) for stage, usage in stats.usage.items()},
        **{name: getattr(stats, name) for name in COUNTERS},
    }


def load_usage(counters: object, name: str) -> Usage:
    """Return counters as they were written.

    Args:
        counters: the JSON value.
        name: what it is, for the message.

    Raises:
        MalformedResultError: it is no object, or a counter has a wrong type.
    """
    # Counters of a later version are no reason to refuse the file.
    try:
        return msgspec.convert(counters, Usage)
    except msgspec.ValidationError as error:
        raise MalformedResultError(f"{name}: {error}") from error


def _seconds(value: object) -> float:
    """Return a time that can be added up; 0 where a file holds anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value)


def _one_text(value: object) -> str | None:
    """Return a text; older tools wrote whatever the judge gave them, such as a list of lines."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _decode(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedResultError(str(error)) from error


def _without_nulls(data: bytes) -> bytes:
    """Return a file whose known fields hold no null: what is null is as good as absent."""
    try:
        # Python's own writer, which older tools used, writes NaN; here that is null.
        content = orjson.loads(orjson.dumps(json.loads(data)))
    except (ValueError, TypeError, RecursionError) as error:
        raise MalformedResultError(f"not JSON: {error}") from error
    if isinstance(content, dict):
        content = {
            name: _known(value) if name in ("results", "stats") else value
            for name, value in content.items()
            if value is not None or name not in _KNOWN
        }
    return orjson.dumps(content)


def _known(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _known(each) for name, each in value.items() if each is not None}


def _seconds_of(duration: str) -> float:
    match = DURATION.fullmatch(duration.strip())
    if match is None:
        return 0.0
    days, hours, minutes, seconds = match.groups()
    return float(days or 0) * 86400 + int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _storable(text: T) -> T:
    """Spell out lone surrogates, which judged programs may print and JSON cannot hold."""
    if isinstance(text, str):
        return text.encode("utf-8", "backslashreplace").decode()  # type: ignore[return-value]
    return text
