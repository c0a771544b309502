"""The table of shapes: which fields tell one, and which function makes a problem of it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from egcfg.datasets.decoder_tests import DecoderTests, with_decoder_tests
from egcfg.datasets.records import Record, read_records
from egcfg.datasets.shapes.contests import (
    apps_problem,
    code_contests_problem,
    live_code_bench_problem,
)
from egcfg.datasets.shapes.evalplus import humaneval_plus_problem, mbpp_plus_release_problem
from egcfg.datasets.shapes.humaneval import (
    given_tests_problem,
    humaneval_et_problem,
    humaneval_problem,
)
from egcfg.datasets.shapes.mbpp import mbpp_et_problem, mbpp_plus_problem, mbpp_problem
from egcfg.datasets.shapes.own import OWN_FIELDS, own_problem
from egcfg.errors import DataError, did_you_mean
from egcfg.interfaces.problem import Problem

__all__ = [
    "SHAPES",
    "Shape",
    "problem_from",
    "problem_from_record",
    "problems_from_records",
    "read_problems",
]

logger = logging.getLogger(__name__)

MakeProblem = Callable[[Record, int | None], Problem]


@frozen(kw_only=True)
class Shape:
    """A kind of record.

    Attributes:
        name: what its data set is called.
        told_by: fields that are there in this shape, and not all of them in those further down.
        make: makes a problem of a record, given how many tests are to be visible (None: as the
            shape has it).
        tests: further fields about tests that are read, or known to say nothing more.
        refused: why there is no such problem here; None: there is.
    """

    name: str
    told_by: tuple[str, ...]
    make: MakeProblem | None = None
    tests: tuple[str, ...] = ()
    refused: str | None = None


SHARED_PROCESS = "its tests share the program's process, so that a program could pass them unsolved"
MBPP_TESTS = ("test_setup_code", "test_imports", "challenge_test_list")

SHAPES = (
    Shape(
        name="BigCodeBench",
        told_by=("complete_prompt", "instruct_prompt"),
        refused=SHARED_PROCESS,
    ),
    Shape(
        name="DS-1000",
        told_by=("reference_code", "code_context"),
        refused="its tests build a program around a snippet, in libraries' own types",
    ),
    Shape(
        name="MultiPL-E",
        told_by=("tests", "stop_tokens", "language"),
        refused="its tests are appended to the program and share its process; use HumanEval's file",
    ),
    Shape(
        name="Open-R1's verifiable tasks",
        told_by=("verification_info",),
        refused="its tests come in several languages; write them as your own problems",
    ),
    Shape(
        name="LiveCodeBench",
        told_by=("question_content", "public_test_cases"),
        make=live_code_bench_problem,
        tests=("private_test_cases",),
    ),
    Shape(
        name="CodeContests",
        told_by=("description", "public_tests"),
        make=code_contests_problem,
        tests=("private_tests", "generated_tests", "input_file"),
    ),
    Shape(name="APPS", told_by=("question", "input_output"), make=apps_problem),
    Shape(
        name="MBPP+",
        told_by=("entry_point", "base_input", "plus_input", "assertion"),
        make=mbpp_plus_release_problem,
    ),
    Shape(
        name="HumanEval+",
        told_by=("entry_point", "base_input", "plus_input"),
        make=humaneval_plus_problem,
        tests=("test",),
    ),
    Shape(
        name="LPW's contest tasks",
        told_by=("prompt", "entry_point", "test", "given_tests"),
        make=given_tests_problem,
    ),
    Shape(
        name="HumanEval-ET",
        told_by=("prompt", "entry_point", "test_case_list"),
        make=humaneval_et_problem,
        tests=("test",),
    ),
    Shape(
        name="HumanEval",
        told_by=("prompt", "entry_point", "test"),
        make=humaneval_problem,
        tests=("test_list",),
    ),
    Shape(
        name="MBPP-ET",
        told_by=("test_list", "test_case_list"),
        make=mbpp_et_problem,
        tests=MBPP_TESTS,
    ),
    Shape(
        name="MBPP+ in MBPP's shape",
        told_by=("test_list", "test"),
        make=mbpp_plus_problem,
        tests=MBPP_TESTS,
    ),
    Shape(name="MBPP", told_by=("test_list",), make=mbpp_problem, tests=MBPP_TESTS),
)

ABOUT_TESTS = re.compile(
    r"(^|_)(tests?|asserts?|assertions?|checks?|checker|inputs?|suffix)($|_)", re.IGNORECASE
)


def problem_from(
    record: Mapping[str, Any],
    *,
    visible: int | None = None,
    decoder_tests: DecoderTests | str = DecoderTests.VISIBLE,
) -> Problem:
    """Return the problem of one record of any known shape, as whoever loaded a data set has it.

    Args:
        record: its fields, such as a row of HumanEval, MBPP+ or CodeContests.
        visible: how many tests are visible, while all score; None: as the shape has it.
        decoder_tests: which of the visible ones the decoder may execute.

    Raises:
        DataError: it has no known shape, a test that would be left out, or cannot be used.
        ValueError: there are no such `decoder_tests`.
    """
    problem = problem_from_record(Record("record", 1, record), visible)
    return with_decoder_tests(problem, DecoderTests(decoder_tests))


def read_problems(path: Path, *, strict: bool = False, visible: int | None = None) -> list[Problem]:
    """Return the problems of a file; see `problems_from_records`.

    Raises:
        DataError: the file cannot be read, or as `problems_from_records`.
    """
    return problems_from_records(read_records(path), strict=strict, visible=visible)


def problems_from_records(
    records: Iterable[Record | DataError], *, strict: bool = False, visible: int | None = None
) -> list[Problem]:
    """Return one problem per record; a record that cannot be used is named in a warning.

    Args:
        records: the records, and what is wrong with the lines that hold none.
        strict: whether one such record refuses all.
        visible: how many tests are visible, while all score; None: as the shape has it.

    Raises:
        DataError: with `strict`, a record cannot be used; else, none can; or two records have one
            task id.
    """
    problems = []
    faults: list[DataError] = []
    lines: dict[str, int] = {}
    for record in records:
        try:
            if isinstance(record, DataError):
                raise record
            problem = problem_from_record(record, visible)
        except DataError as error:
            if strict:
                raise
            faults.append(error)
            continue
        first = lines.setdefault(problem.task_id, record.line)
        if first != record.line:
            raise record.error(
                "task_id", f"{problem.task_id!r} is taken by line {first}; choose another"
            )
        problems.append(problem)
    if not problems and faults:
        raise faults[0]
    for fault in faults[:SHOWN_FAULTS]:
        logger.warning("left out: %s", fault)
    if faults:
        logger.warning(
            "%d of %d records left out; --strict-data refuses such a file",
            len(faults),
            len(problems) + len(faults),
        )
    return problems


SHOWN_FAULTS = 5


def problem_from_record(record: Record, visible: int | None = None) -> Problem:
    """Return the problem of one record, whichever shape it has.

    Raises:
        DataError: it has no known shape, a test that would be left out, or cannot be used.
    """
    for shape in SHAPES:
        if all(map(record.has, shape.told_by)):
            if shape.make is None:
                raise record.error(
                    shape.told_by[0],
                    f"this is {shape.name}, which egcfg cannot judge: {shape.refused}",
                )
            _check_whole(record, shape)
            return shape.make(record, visible)
    if not record.values.keys() & {"tests", "hidden_tests", "description"} and not any(
        "did you mean" in did_you_mean(key, ("tests", "hidden_tests")) for key in record.values
    ):
        raise DataError(
            f"{record.source}, line {record.line}: a record of no known shape (its fields: "
            f"{', '.join(list(record.values)[:12])}); write 'task_id', 'description' and 'tests', "
            f"or use a file of {', '.join(s.name for s in SHAPES if s.make)}"
        )
    return own_problem(record, visible)


def _check_whole(record: Record, shape: Shape) -> None:
    """See that no test of a record would be left out.

    Raises:
        DataError: a field that seems to hold tests is none of the shape's.
    """
    for key, value in record.values.items():
        if (
            value not in (None, "", [], {})
            and ABOUT_TESTS.search(key)
            and key not in shape.told_by
            and key not in shape.tests
            and key not in OWN_FIELDS
        ):
            raise record.error(
                key,
                f"seems to hold tests, which the shape of {shape.name} has no place for; "
                "rename it if it does not, else write the problem as your own",
            )
