"""Turns the records of problem files into problems; knows three shapes, told apart by their keys.

* MBPP's: ``text`` (or ``prompt``) and ``test_list``;
* HumanEval's: ``prompt``, ``entry_point`` and ``test`` (a ``check`` function);
* our own: ``description`` and ``tests``, see `own_problem`.

Records of each shape may limit what one run of a program takes: ``time_limit`` in seconds,
``memory_limit`` in MiB (`Problem`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from egcfg.datasets.assertions import defined_names, fault_in_assert, infer_entry_point
from egcfg.datasets.docstring_examples import docstring_asserts
from egcfg.datasets.jsonlines import Record, read_records
from egcfg.errors import ConfigError, did_you_mean
from egcfg.interfaces.problem import (
    AssertTest,
    CheckTest,
    Comparison,
    Problem,
    StdioTest,
    TestCase,
    find_call,
)
from egcfg.plugins.options import make_options

__all__ = [
    "humaneval_problem",
    "mbpp_problem",
    "own_problem",
    "problem_from_record",
    "problems_from_records",
    "read_problems",
]

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


def read_problems(path: Path) -> list[Problem]:
    """Return the problems of a JSON-lines file.

    Raises:
        DataError: the file or a record cannot be used; two records have one task id.
    """
    return problems_from_records(read_records(path))


def problems_from_records(records: Iterable[Record]) -> list[Problem]:
    """Return one problem per record.

    Raises:
        DataError: a record cannot be used; two records have one task id.
    """
    problems = []
    lines: dict[str, int] = {}
    for record in records:
        problem = problem_from_record(record)
        first = lines.setdefault(problem.task_id, record.line)
        if first != record.line:
            raise record.error(
                "task_id", f"{problem.task_id!r} is taken by line {first}; choose another"
            )
        problems.append(problem)
    return problems


def problem_from_record(record: Record) -> Problem:
    """Return the problem of one record, whichever shape it has.

    Raises:
        DataError: the record cannot be used.
    """
    if record.has("test_list"):
        return mbpp_problem(record)
    if all(map(record.has, ("prompt", "entry_point", "test"))):
        return humaneval_problem(record)
    return own_problem(record)


def mbpp_problem(record: Record) -> Problem:
    """Return a problem of MBPP's shape: its tests are visible, and score.

    Raises:
        DataError: the record cannot be used.
    """
    setup = [*record.texts("test_imports"), record.text("test_setup_code", default="")]
    setup_code = "\n".join(part for part in setup if part)
    _check_python(record, "test_setup_code", setup_code)
    tests = _asserts(record, "test_list")
    if not tests:
        raise record.error("test_list", "is empty; give at least one assert")
    return Problem(
        task_id=record.name("task_id"),
        description=record.text("text", "prompt"),
        entry_point=_entry_point(record, "test_list", tests, setup_code),
        visible_tests=tests,
        setup_code=setup_code,
        time_limit=record.limit("time_limit"),
        memory_limit=record.limit("memory_limit"),
    )


def humaneval_problem(record: Record) -> Problem:
    """Return a problem of HumanEval's shape.

    Visible tests are the examples in the docstring (`docstring_asserts`), which may be none;
    ``check`` is hidden.

    Raises:
        DataError: the record cannot be used.
    """
    given_code = record.text("prompt")
    entry_point = record.text("entry_point")
    check = record.text("test")
    if entry_point not in _check_python(record, "prompt", given_code):
        raise record.error(
            "entry_point", f"no function {entry_point!r} in 'prompt'; name the one to complete"
        )
    if "check" not in _check_python(record, "test", check):
        raise record.error("test", "defines no function 'check'; add def check(candidate)")
    return Problem(
        task_id=record.name("task_id"),
        description=_docstring(given_code, entry_point),
        entry_point=entry_point,
        visible_tests=[AssertTest(t) for t in docstring_asserts(given_code, entry_point)],
        hidden_tests=[CheckTest(check, entry_point)],
        given_code=given_code,
        scorer="check",
        time_limit=record.limit("time_limit"),
        memory_limit=record.limit("memory_limit"),
    )


def own_problem(record: Record) -> Problem:
    """Return a problem of our own shape.

    Fields: ``task_id``; ``description`` (or ``prompt``, or ``text``); ``tests`` and
    ``hidden_tests``, each a list of assert statements or of ``{"input": ..., "output": ...}``;
    optional ``entry_point`` (else the function that all asserts call), ``given_code`` and
    ``setup_code``. For inputs and outputs also ``comparison``, an object with the attributes of
    `Comparison`, or ``checker``, code as in `StdioTest`. Further fields are ignored unless they
    look like a slip of the pen.

    Raises:
        DataError: the record cannot be used.
    """
    for key in record.values:
        if key not in OWN_FIELDS and "did you mean" in (hint := did_you_mean(key, OWN_FIELDS)):
            raise record.error(key, f"is not known{hint}")
    setup_code = record.text("setup_code", default="")
    _check_python(record, "setup_code", setup_code)
    visible = _tests(record, "tests")
    hidden = _tests(record, "hidden_tests")
    tests = [*visible, *hidden]
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
        entry_point = _entry_point(record, "tests", asserts, setup_code)
        scorer = "asserts"
    return Problem(
        task_id=record.name("task_id"),
        description=record.text("description", "prompt", "text"),
        entry_point=entry_point,
        visible_tests=visible,
        hidden_tests=hidden,
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
    return list(_asserts(record, field))


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
    if "check" not in _check_python(record, "checker", checker):
        raise record.error(
            "checker", "defines no function 'check'; add def check(input, output, expected)"
        )
    return checker


def _asserts(record: Record, field: str) -> list[AssertTest]:
    sources = record.texts(field)
    for number, source in enumerate(sources):
        fault = fault_in_assert(source)
        if fault:
            raise record.error(f"{field}[{number}]", fault)
    return [AssertTest(source.strip()) for source in sources]


def _entry_point(record: Record, field: str, tests: list[AssertTest], setup_code: str) -> str:
    sources = [test.source for test in tests]
    if record.has("entry_point"):
        name = record.text("entry_point")
        if not any(find_call(source, name) for source in sources):
            raise record.error(
                "entry_point", f"no test calls {name!r}; correct the name or the tests"
            )
        return name
    inferred = infer_entry_point(sources, setup_code, record.text("code", default=""))
    if inferred is None:
        raise record.error(
            field, "the tests have no called function in common; name it in 'entry_point'"
        )
    return inferred


def _check_python(record: Record, field: str, code: str) -> set[str]:
    """Return the names that `code` defines; complain if it is no Python."""
    try:
        return defined_names(code)
    except (SyntaxError, ValueError) as error:
        raise record.error(field, f"is no Python: {error}; correct it") from error


def _docstring(code: str, function: str) -> str:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return ast.get_docstring(node) or ""
    return ""
