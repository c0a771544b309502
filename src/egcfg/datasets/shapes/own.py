"""The project's own shape: a description, tests and, where they are wanted, hidden tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from egcfg.datasets.records import Record
from egcfg.datasets.shapes.parts import asserts_of, entry_point_of, names_of
from egcfg.errors import ConfigError, did_you_mean
from egcfg.interfaces.problem import AssertTest, Comparison, Problem, StdioTest, TestCase
from egcfg.plugins.options import make_options

__all__ = ["OWN_FIELDS", "own_problem"]

OWN_FIELDS = (
    "task_id",
    "description",
    "prompt",
    "text",
    "entry_point",
    "tests",
    "hidden_tests",
    "given_code",
    "setup_code",
    "comparison",
    "checker",
    "time_limit",
    "memory_limit",
)


def own_problem(record: Record, visible: int | None = None) -> Problem:
    """Return a problem of our own shape.

    Fields: ``task_id``; ``description`` (or ``prompt``, or ``text``); ``tests`` and
    ``hidden_tests``, each a list of assert statements or of ``{"input": ..., "output": ...}``;
    optional ``entry_point`` (else the function that all asserts call), ``given_code`` and
    ``setup_code``. For inputs and outputs also ``comparison``, an object with the attributes of
    `Comparison`, or ``checker``, code as in `StdioTest`. Further fields are ignored unless they
    look like a slip of the pen.

    Args:
        record: where it comes from.
        visible: how many of ``tests`` are visible; None: all.

    Raises:
        DataError: the record cannot be used.
    """
    for key in record.values:
        if key not in OWN_FIELDS and "did you mean" in (hint := did_you_mean(key, OWN_FIELDS)):
            raise record.error(key, f"is not known{hint}")
    setup_code = record.text("setup_code", default="")
    names_of(record, "setup_code", setup_code)
    given = _tests(record, "tests")
    hidden = _tests(record, "hidden_tests")
    tests = [*given, *hidden]
    if not tests:
        raise record.error("tests", "is missing or empty; give at least one test")
    if len({type(test) for test in tests}) > 1:
        raise record.error("tests", "mixes asserts with inputs and outputs; choose one kind")
    if isinstance(tests[0], StdioTest):
        entry_point, scorer = record.text("entry_point", default="") or None, "stdio"
    else:
        for key in filter(record.has, ("comparison", "checker")):
            raise record.error(key, "is for tests of inputs and outputs; leave it out")
        asserts = [test for test in tests if isinstance(test, AssertTest)]
        entry_point = entry_point_of(record, "tests", asserts, setup_code)
        scorer = "asserts"
    return Problem(
        task_id=record.name("task_id"),
        description=record.text("description", "prompt", "text"),
        entry_point=entry_point,
        visible_tests=given[:visible],
        hidden_tests=hidden if visible is None else hidden or given,
        setup_code=setup_code,
        given_code=record.text("given_code", default=""),
        scorer=scorer,
        time_limit=record.limit("time_limit"),
        memory_limit=record.limit("memory_limit"),
    )


def _tests(record: Record, field: str) -> list[TestCase]:
    items = record.items(field)
    if items and all(isinstance(item, dict) for item in items):
        return [_pair(record, f"{field}[{number}]", item) for number, item in enumerate(items)]
    return list(asserts_of(record, field))


def _pair(record: Record, field: str, item: dict[str, Any]) -> StdioTest:
    if set(item) != {"input", "output"}:
        raise record.error(field, "must have the keys 'input' and 'output', and no others")
    pair = Record(record.source, record.line, {f"{field}.{key}": item[key] for key in item})
    for name in pair.values:
        pair.text(name)
    # As they are: a program may see how the lines of its input end.
    return StdioTest(item["input"], item["output"], _comparison(record), _checker(record))


def _comparison(record: Record) -> Comparison | None:
    if not record.has("comparison"):
        return None
    values = record.values["comparison"]
    if not isinstance(values, Mapping):
        raise record.error("comparison", 'must be an object, such as {"ignore_case": true}')
    try:
        return make_options(Comparison, values, "comparison")
    except ConfigError as error:
        raise record.error("comparison", f"{error}; correct it") from error


def _checker(record: Record) -> str | None:
    if not record.has("checker"):
        return None
    checker = record.text("checker")
    if "check" not in names_of(record, "checker", checker):
        raise record.error(
            "checker", "defines no function 'check'; add def check(input, output, expected)"
        )
    return checker
