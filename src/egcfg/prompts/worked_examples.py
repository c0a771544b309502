"""Solved tasks to show a model before its own: three of MBPP's, or three of ours."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from egcfg.datasets.mbpp import mbpp_records
from egcfg.datasets.records import Record, read_records
from egcfg.datasets.shapes.mbpp import mbpp_problem
from egcfg.errors import DataError
from egcfg.interfaces.problem import AssertTest, TestCase

__all__ = ["OWN_EXAMPLES", "WorkedExample", "holds_mbpp_examples", "mbpp_examples"]

MBPP_EXAMPLES = (2, 3, 4)
"""Task ids of MBPP's examples in the paper."""


@frozen
class WorkedExample:
    """A task with its tests and a solution."""

    description: str
    tests: tuple[TestCase, ...]
    code: str


def mbpp_examples(path: Path | None) -> tuple[WorkedExample, ...]:
    """Return tasks 2, 3 and 4 of an MBPP file; None: of MBPP on the hub, or its local cache.

    Raises:
        DataError: the file cannot be read or lacks one of them, or the hub cannot be reached.
        MissingExtraError: the hub is asked, and the package ``datasets`` is not installed.
    """
    found = mbpp_records(path, MBPP_EXAMPLES)
    records = [record for record in found if isinstance(record, Record)]
    if len(records) < len(MBPP_EXAMPLES):
        raise DataError(
            f"{path} lacks one of the tasks 2, 3 and 4, which serve as examples; "
            "give the whole MBPP file or leave out prompt.examples_path"
        )
    return tuple(_example(record) for record in records)


def holds_mbpp_examples(path: Path) -> bool:
    """Whether a file of MBPP's shape holds the tasks that `mbpp_examples` takes, solved.

    Raises:
        DataError: it cannot be read, or is no file of JSON lines.
    """
    records = [record for record in read_records(path) if isinstance(record, Record)]
    solved = {str(r.values.get("task_id")) for r in records if r.has("code")}
    return solved.issuperset(map(str, MBPP_EXAMPLES))


def _example(record: Record) -> WorkedExample:
    problem = mbpp_problem(record, None)
    return WorkedExample(problem.description, problem.visible_tests, record.text("code").strip())


OWN_EXAMPLES = (
    WorkedExample(
        "Write a function to keep the words of a text that have more than n letters.",
        (
            AssertTest("assert long_words('a bird in the hand', 3) == ['bird', 'hand']"),
            AssertTest("assert long_words('to be or not', 3) == []"),
            AssertTest("assert long_words('', 1) == []"),
        ),
        """\
def long_words(text, n):
    kept = []
    for word in text.split():
        if len(word) > n:
            kept.append(word)
    return kept""",
    ),
    WorkedExample(
        "Write a function to find how often the digit d stands in a whole number.",
        (
            AssertTest("assert count_digit(70747, 7) == 3"),
            AssertTest("assert count_digit(12, 5) == 0"),
            AssertTest("assert count_digit(-33, 3) == 2"),
        ),
        """\
def count_digit(number, d):
    digits = str(abs(number))
    return digits.count(str(d))""",
    ),
    WorkedExample(
        "Write a function to add up the prices per item of a list of purchases.",
        (
            AssertTest(
                "assert total_prices([('tea', 3), ('egg', 1), ('tea', 2)]) == {'tea': 5, 'egg': 1}"
            ),
            AssertTest("assert total_prices([('jam', 4)]) == {'jam': 4}"),
            AssertTest("assert total_prices([]) == {}"),
        ),
        """\
def total_prices(purchases):
    totals = {}
    for item, price in purchases:
        totals[item] = totals.get(item, 0) + price
    return totals""",
    ),
)
"""Written for this project; used where no MBPP file is given."""
