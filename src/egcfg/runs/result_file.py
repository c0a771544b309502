"""The result file of one unit, as JSON.

The fields ``code``, ``results``, ``passed``, ``accuracy``, ``general_error``,
``has_testcase_error`` and ``stats`` (``start_time``, ``end_time``, ``input_tokens``,
``output_tokens``, ``duration``) have the names and forms that published result folders use. All
others were added. A file that an older tool wrote reads well, and what is unknown in it is kept:
what only tells about a verdict is read as well as it can be, and no reason to lose the verdict.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, TypeVar

import attrs
import msgspec
import orjson

from egcfg.interfaces.usage import Usage
from egcfg.runs.results import COUNTERS, Result, ResultStats, TestVerdict

__all__ = ["MalformedResultError", "dump_result", "load_result", "load_usage"]

T = TypeVar("T")
DURATION = re.compile(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d(?:\.\d+)?)")
WORK = ("calls", "executions")


class MalformedResultError(ValueError):
    """The content of a result file cannot be understood; the message says where."""


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
