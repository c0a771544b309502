"""What the records of several shapes have in common: asserts, entry points, code, limits."""

from __future__ import annotations

from typing import Any

from egcfg.datasets.assertions import (
    called_functions,
    defined_names,
    fault_in_assert,
    infer_entry_point,
)
from egcfg.datasets.records import Record
from egcfg.interfaces.problem import AssertTest

__all__ = ["asserts_of", "entry_point_of", "mbpp_plus_time_limit", "names_of", "python_text"]

# Seconds of processor time for tasks of MBPP+ whose reference solutions take longer than is usual.
_SLOW = {"392": 30.0, "599": 60.0, "630": 30.0}
UNPRINTABLE = 10**4000
"""Python neither prints nor reads much longer numbers in decimal."""


def asserts_of(record: Record, field: str) -> list[AssertTest]:
    """Return the asserts of a field that lists them.

    Raises:
        DataError: an item is no assert statement.
    """
    sources = record.texts(field)
    for number, source in enumerate(sources):
        fault = fault_in_assert(source)
        if fault:
            raise record.error(f"{field}[{number}]", fault)
    return [AssertTest(source.strip()) for source in sources]


def entry_point_of(
    record: Record, field: str, tests: list[AssertTest], setup_code: str = ""
) -> str:
    """Return the function that the asserts of `field` are about: named by the record, or inferred.

    Raises:
        DataError: no test calls the named one, or the tests call none in common.
    """
    sources = [test.source for test in tests]
    if record.has("entry_point"):
        name = record.text("entry_point")
        if not any(name in called_functions(source) for source in sources):
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


def names_of(record: Record, field: str, code: str) -> set[str]:
    """Return the names that the code of a field defines at its top level.

    Raises:
        DataError: it is no Python.
    """
    try:
        return defined_names(code)
    except (SyntaxError, ValueError) as error:
        raise record.error(field, f"is no Python: {error}; correct it") from error


def mbpp_plus_time_limit(record: Record) -> float | None:
    """Return the limit of a record of MBPP+, in either shape; None: it has none of its own.

    Raises:
        DataError: the record's limit is none.
    """
    task = record.name("task_id").removeprefix("Mbpp/")
    return record.limit("time_limit") or _SLOW.get(task)


def python_text(value: Any) -> str:
    """Return Python source of a value of JSON's and Python's plain types.

    Unlike ``repr``, also of numbers that are infinite, no numbers, or longer than Python prints.
    """
    match value:
        case bool() | None | str() | bytes():
            return repr(value)
        case int():
            return repr(value) if abs(value) < UNPRINTABLE else hex(value)
        case float():
            return repr(value) if abs(value) < float("inf") else f"float({str(value)!r})"
        case complex():
            return f"complex({python_text(value.real)}, {python_text(value.imag)})"
        case list():
            return f"[{', '.join(map(python_text, value))}]"
        case tuple():
            return f"({''.join(f'{python_text(item)}, ' for item in value)})"
        case set() | frozenset():
            items = ", ".join(sorted(map(python_text, value)))
            return f"{type(value).__name__}([{items}])"
        case dict():
            pairs = (f"{python_text(k)}: {python_text(v)}" for k, v in value.items())
            return f"{{{', '.join(pairs)}}}"
    raise TypeError(f"{type(value).__name__} has no source text")
