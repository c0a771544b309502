"""Contest tasks as their data sets publish them: LiveCodeBench, APPS (and TACO), CodeContests."""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import re
import zlib
from collections.abc import Sequence
from typing import Any

from egcfg.datasets.records import Record, load_json
from egcfg.datasets.shapes.parts import python_text
from egcfg.interfaces.problem import AssertTest, Problem, StdioTest, TestCase

__all__ = ["apps_problem", "code_contests_problem", "live_code_bench_problem"]

PRELUDE = """\
import bisect, collections, functools, heapq, itertools, math, operator, random, re, string, sys
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from typing import *"""
"""What the sites put before a solution, in names; solutions count on it."""

MIB = 1 << 20
LARGEST_TESTS = 1 << 30
FRAME_OF_A_PICKLE = frozenset({"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"})


def live_code_bench_problem(record: Record, visible: int | None) -> Problem:
    """Return a problem of LiveCodeBench: public tests are visible, these and private ones score.

    Functional tests are calls of a method of ``Solution``, or of a function. Private tests are
    stored as a compressed pickle of one text: the text is taken out, the pickle is never run.

    Raises:
        DataError: the record cannot be used.
    """
    starter = record.text("starter_code", default="")
    method = _json_object(record, "metadata").get("func_name")
    public = _json_list(record, "public_test_cases", record.text("public_test_cases"))
    private = _json_list(record, "private_test_cases", _private_tests(record))
    tests = [
        _live_code_bench_test(record, method, "class Solution" in starter, item)
        for item in (*public, *private)
    ]
    return _problem(
        record,
        task_id=record.name("question_id"),
        words=record.text("question_content"),
        starter=starter,
        tests=tests,
        public=len(public),
        visible=visible,
        function=method,
    )


def apps_problem(record: Record, visible: int | None) -> Problem:
    """Return a problem of APPS or TACO: all tests score, and none is visible unless asked for.

    Raises:
        DataError: the record cannot be used.
    """
    tests = _json_object(record, "input_output")
    inputs, outputs = tests.get("inputs"), tests.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise record.error("input_output", "must have the lists 'inputs' and 'outputs'")
    function = tests.get("fn_name")
    starter = record.text("starter_code", default="")
    pairs = zip(inputs, outputs, strict=False)
    if function is None:
        made: list[TestCase] = [StdioTest(_lines(i), _lines(o)) for i, o in pairs]
    else:
        made = [_apps_call(function, "class Solution" in starter, i, o) for i, o in pairs]
    key = next((key for key in ("problem_id", "id", "task_id") if record.has(key)), None)
    return _problem(
        record,
        task_id=str(record.line) if key is None else record.name(key),
        words=record.text("question"),
        starter=starter,
        tests=made,
        public=0,
        visible=visible,
        function=function,
        time_limit=_seconds(record.values.get("time_limit")),
    )


def code_contests_problem(record: Record, visible: int | None) -> Problem:
    """Return a problem of CodeContests: public tests are visible; all three kinds score.

    Raises:
        DataError: the record cannot be used.
    """
    kinds = [
        _pairs(record, field) for field in ("public_tests", "private_tests", "generated_tests")
    ]
    memory = record.values.get("memory_limit_bytes")
    return _problem(
        record,
        task_id=record.name("name"),
        words=record.text("description"),
        starter="",
        tests=[test for kind in kinds for test in kind],
        public=len(kinds[0]),
        visible=visible,
        function=None,
        time_limit=_seconds(record.values.get("time_limit")),
        memory_limit=memory / MIB if isinstance(memory, int) and memory > 0 else None,
    )


def _problem(
    record: Record,
    *,
    task_id: str,
    words: str,
    starter: str,
    tests: Sequence[TestCase],
    public: int,
    visible: int | None,
    function: str | None,
    time_limit: float | None = None,
    memory_limit: float | None = None,
) -> Problem:
    """Return a contest task.

    Args:
        record: where it comes from.
        task_id, words: of the task.
        starter: the site's code to start from, which a solution repeats.
        tests: all that score, the public ones first.
        public: how many are public.
        visible: how many are visible; None: the public ones.
        function: the function or method that the tests call, if any.
        time_limit: in seconds.
        memory_limit: in MiB.
    """
    if not tests:
        raise record.error("tests", "has none; leave the task out")
    if starter.strip():
        words = f"{words.rstrip()}\n\nStart from this code:\n\n{starter.rstrip()}\n"
    calls = not isinstance(tests[0], StdioTest)
    entry_point = ("Solution" if "class Solution" in starter else function) if calls else None
    return Problem(
        task_id=task_id,
        description=words,
        entry_point=entry_point,
        visible_tests=tests[: public if visible is None else visible],
        hidden_tests=tests,
        setup_code=PRELUDE if calls else "",
        scorer="asserts" if calls else "stdio",
        time_limit=time_limit,
        memory_limit=memory_limit,
    )


def _live_code_bench_test(record: Record, method: object, in_class: bool, item: object) -> TestCase:
    match item:
        case {"input": str(given), "output": str(wanted), "testtype": "functional"}:
            if not isinstance(method, str):
                raise record.error("metadata", "must have 'func_name', which the tests call")
            try:
                arguments = [load_json(line) for line in given.split("\n") if line.strip()]
                value = load_json(wanted)
            except ValueError as error:
                raise record.error("public_test_cases", f"holds no JSON: {error}") from error
            return _call_test(method, in_class, arguments, value)
        case {"input": str(given), "output": str(wanted)}:
            return StdioTest(given, wanted)
    raise record.error("public_test_cases", "must hold objects with 'input' and 'output'")


def _call_test(function: str, in_class: bool, arguments: Sequence[Any], value: Any) -> AssertTest:
    call = f"{'Solution().' if in_class else ''}{function}"
    given = ", ".join(map(python_text, arguments))
    return AssertTest(f"assert {call}({given}) == {python_text(value)}")


def _apps_call(function: str, in_class: bool, arguments: Any, value: Any) -> AssertTest:
    test = _call_test(function, in_class, arguments, value)
    match value:
        case [only]:  # a value is often, not always, put into a list of its own
            call = test.source.removesuffix(f" == {python_text(value)}")
            return AssertTest(f"{call} in ({python_text(only)}, {python_text(value)})")
    return test


def _private_tests(record: Record) -> str:
    """Return the JSON of the private tests, however it is stored.

    Raises:
        DataError: it is stored in no known way.
    """
    stored = record.text("private_test_cases", default="[]")
    if stored.lstrip().startswith("["):
        return stored
    try:
        unpacker = zlib.decompressobj()
        pickled = unpacker.decompress(base64.b64decode(stored, validate=True), LARGEST_TESTS)
        steps = [(step.name, value) for step, value, _ in pickletools.genops(pickled)]
    except (ValueError, zlib.error, binascii.Error) as error:
        raise record.error("private_test_cases", f"cannot be unpacked: {error}") from error
    texts = [value for name, value in steps if name not in FRAME_OF_A_PICKLE]
    if unpacker.unconsumed_tail or len(texts) != 1 or not isinstance(texts[0], str):
        raise record.error("private_test_cases", "is no pickle of a single text")
    return texts[0]


def _pairs(record: Record, field: str) -> list[StdioTest]:
    match record.values.get(field):
        case None:
            return []
        case {"input": [*inputs], "output": [*outputs]} if len(inputs) == len(outputs):
            return [StdioTest(_lines(i), _lines(o)) for i, o in zip(inputs, outputs, strict=True)]
    raise record.error(field, "must have the lists 'input' and 'output', of one length")


def _lines(text: object) -> str:
    """Return a whole input or output, which may be stored as a list of its lines."""
    return "\n".join(map(str, text)) if isinstance(text, list) else str(text)


def _json_object(record: Record, field: str) -> dict[str, Any]:
    value = record.values.get(field)
    if isinstance(value, str):
        try:
            value = load_json(value) if value.strip() else {}
        except ValueError as error:
            raise record.error(field, f"is no JSON: {error}; correct it") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise record.error(field, "must be a JSON object")
    return value


def _json_list(record: Record, field: str, text: str) -> list[Any]:
    try:
        value = load_json(text)
    except (ValueError, json.JSONDecodeError) as error:
        raise record.error(field, f"is no JSON: {error}; correct it") from error
    if not isinstance(value, list):
        raise record.error(field, "must be a JSON list")
    return value


def _seconds(limit: object) -> float | None:
    """Return a time limit in seconds, written as ``{"seconds": ..}``, a number or in words."""
    match limit:
        case {"seconds": int(seconds), "nanos": int(nanos)}:
            return seconds + nanos / 1e9 or None
        case {"seconds": int(seconds)}:
            return seconds or None
        case int() | float():
            return float(limit) or None
        case str() if found := re.match(r"\s*([\d.]+)\s*sec", limit):
            return float(found[1]) or None
    return None
