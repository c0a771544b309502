"""HumanEval's shape and what was derived from it: HumanEval-ET and the contest tasks of LPW."""

from __future__ import annotations

import ast
import typing
import warnings
from collections.abc import Sequence

from attrs import evolve

from egcfg.datasets.assertions import defined_names
from egcfg.datasets.docstring_examples import completed, docstring_asserts, docstring_of
from egcfg.datasets.records import Record
from egcfg.datasets.shapes.parts import asserts_of, names_of
from egcfg.interfaces.problem import AssertTest, CheckTest, Problem, TestCase

__all__ = ["given_tests_problem", "humaneval_et_problem", "humaneval_problem", "stub_problem"]


def humaneval_problem(record: Record, visible: int | None) -> Problem:
    """Return a problem of HumanEval's shape: ``check`` scores.

    Visible tests are the examples in the docstring (`docstring_asserts`), which may be none, or
    the pairs of a call and its value in ``test_list``.

    Raises:
        DataError: the record cannot be used.
    """
    pairs = pairs_of(record, "test_list")
    return stub_problem(record, [_check(record)], "check", visible, pairs)


def humaneval_et_problem(record: Record, visible: int | None) -> Problem:
    """Return a problem of HumanEval-ET: the asserts in ``test_case_list`` score.

    Raises:
        DataError: the record cannot be used.
    """
    return stub_problem(record, asserts_of(record, "test_case_list"), "asserts", visible)


def given_tests_problem(record: Record, visible: int | None) -> Problem:
    """Return a contest task of LPW: ``given_tests`` are visible, the check in ``test`` scores.

    Raises:
        DataError: the record cannot be used.
    """
    # Some leave out the keyword.
    values = {
        "given_tests": [
            f"assert {test}" if isinstance(test, str) and _is_comparison(test) else test
            for test in record.items("given_tests")
        ]
    }
    given = asserts_of(evolve(record, values=values), "given_tests")
    return stub_problem(record, [_check(record)], "check", visible, given)


def stub_problem(
    record: Record,
    hidden: Sequence[TestCase],
    scorer: str,
    visible: int | None,
    given: Sequence[TestCase] = (),
) -> Problem:
    """Return a problem whose ``prompt`` is the beginning of a program.

    Args:
        record: fields ``task_id``, ``prompt`` and ``entry_point``.
        hidden: the tests that score.
        scorer: judges by them.
        visible: how many tests are visible; None: all of those below.
        given: tests that are visible; none: the docstring's examples.

    Raises:
        DataError: the record cannot be used.
    """
    given_code = record.text("prompt")
    entry_point = record.text("entry_point")
    if not hidden:
        raise record.error("test", "holds no test; give at least one")
    try:
        code = completed(given_code)
    except SyntaxError as error:
        raise record.error(
            "prompt", f"is not the beginning of a Python program: {error}; correct it"
        ) from error
    if entry_point not in defined_names(code) and _ends_in_definition(code):
        raise record.error(
            "entry_point", f"no function {entry_point!r} in 'prompt'; name the one to complete"
        )
    examples = [AssertTest(test) for test in docstring_asserts(given_code, entry_point)]
    return Problem(
        task_id=record.name("task_id"),
        description=docstring_of(given_code, entry_point) or given_code,
        entry_point=entry_point,
        visible_tests=(given or examples)[:visible],
        hidden_tests=hidden,
        given_code=given_code,
        setup_code=_typing_imports(code),
        scorer=scorer,
        time_limit=record.limit("time_limit"),
        memory_limit=record.limit("memory_limit"),
    )


def pairs_of(record: Record, field: str) -> list[AssertTest]:
    """Return the tests of a field that lists pairs of a call and its value, both as source.

    Raises:
        DataError: an item is no such pair.
    """
    tests = []
    for number, item in enumerate(record.items(field)):
        match item:
            case [str(call), str(value)]:
                tests.append(AssertTest(f"assert {call.strip()} == {value.strip()}"))
            case _:
                raise record.error(f"{field}[{number}]", "must be a call and its value, two texts")
    return tests


def _check(record: Record) -> CheckTest:
    """Return the check function of ``test``, which the scorer calls itself."""
    source = record.text("test")
    if "check" not in names_of(record, "test", source):
        raise record.error("test", "defines no function 'check'; add def check(candidate)")
    tree = _parse(source)
    kept = [node for node in tree.body if not _is_call_of_check(node)]
    if len(kept) < len(tree.body):
        tree.body = kept
        source = ast.unparse(tree)
    return CheckTest(source, record.text("entry_point"))


def _ends_in_definition(code: str) -> bool:
    """Whether code ends in a function or class: that is the one to complete."""
    match _parse(code).body:
        case [*_, ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef()]:
            return True
    return False


def _is_comparison(source: str) -> bool:
    try:
        return isinstance(ast.parse(source.strip(), mode="eval").body, ast.Compare)
    except (SyntaxError, ValueError):
        return False


def _is_call_of_check(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Call(func=ast.Name(id="check"))):
            return True
    return False


def _typing_imports(code: str) -> str:
    """Return the import of those names of `typing` that code uses and does not define."""
    tree = _parse(code)
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    bound |= {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    if "*" in bound:
        return ""
    lacking = sorted(({node.id for node in names} - bound) & set(typing.__all__))
    return f"from typing import {', '.join(lacking)}" if lacking else ""


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():  # about escapes in data that is not ours
        warnings.simplefilter("ignore")
        return ast.parse(source)
