"""MBPP's shape and what was derived from it: MBPP-ET, and MBPP+ in MBPP's shape."""

from __future__ import annotations

from attrs import evolve

from egcfg.datasets.records import Record
from egcfg.datasets.shapes.parts import (
    asserts_of,
    entry_point_of,
    mbpp_plus_time_limit,
    names_of,
)
from egcfg.interfaces.problem import CheckTest, Problem

__all__ = ["mbpp_et_problem", "mbpp_plus_problem", "mbpp_problem"]

SCRIPT = """\
SCRIPT = {script!r}


def check(candidate):
    exec(compile(SCRIPT, "<test>", "exec"), {{"__name__": "test", {name!r}: candidate}})
"""


def mbpp_problem(record: Record, visible: int | None) -> Problem:
    """Return a problem of MBPP's shape; ``challenge_test_list`` does not score, as published.

    Args:
        record: fields ``task_id``, ``text`` (or ``prompt``), ``test_list``; ``test_setup_code`` and
            ``test_imports`` where the tests need them.
        visible: how many tests are visible, while all score; None: all are, and score.

    Raises:
        DataError: the record cannot be used.
    """
    setup = [*record.texts("test_imports"), record.text("test_setup_code", default="")]
    setup_code = "\n".join(part for part in setup if part)
    names_of(record, "test_setup_code", setup_code)
    tests = asserts_of(record, "test_list")
    if not tests:
        raise record.error("test_list", "is empty; give at least one assert")
    return Problem(
        task_id=record.name("task_id"),
        description=record.text("text", "prompt"),
        entry_point=entry_point_of(record, "test_list", tests, setup_code),
        setup_code=setup_code,
        visible_tests=tests[:visible],
        hidden_tests=() if visible is None else tests,
        time_limit=record.limit("time_limit"),
        memory_limit=record.limit("memory_limit"),
    )


def mbpp_et_problem(record: Record, visible: int | None) -> Problem:
    """Return a problem of MBPP-ET: MBPP's tests are visible, these and ``test_case_list`` score.

    Raises:
        DataError: the record cannot be used.
    """
    problem = mbpp_problem(record, visible)
    seen = problem.visible_tests
    further = [test for test in asserts_of(record, "test_case_list") if test not in seen]
    return evolve(problem, hidden_tests=[*problem.scoring_tests, *further])


def mbpp_plus_problem(record: Record, visible: int | None) -> Problem:
    """Return a problem of MBPP+ in MBPP's shape: the script in ``test`` scores.

    It calls the program's function by its name on the base inputs and the further ones.

    Raises:
        DataError: the record cannot be used.
    """
    problem = mbpp_problem(record, visible)
    script = record.text("test")
    names_of(record, "test", script)
    assert problem.entry_point is not None  # the tests call it
    check = CheckTest(
        SCRIPT.format(script=script, name=problem.entry_point), problem.entry_point, "plus"
    )
    limit = mbpp_plus_time_limit(record)
    return evolve(problem, hidden_tests=[check], scorer="check", time_limit=limit)
