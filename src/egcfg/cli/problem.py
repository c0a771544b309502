"""The problem that ``egcfg solve`` is given: words or a stub, and tests of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from egcfg.cli.terminal import printable_line
from egcfg.errors import UsageError

if TYPE_CHECKING:
    from egcfg.interfaces.problem import Problem

__all__ = ["problem_asked"]


def problem_asked(
    given: str,
    *,
    asserts: Sequence[str] = (),
    test_file: Path | None = None,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    function: str | None = None,
) -> Problem:
    """Return the problem.

    Args:
        given: it in words, or a file of Python with the function to write.
        asserts: tests, one each.
        test_file: a file of tests.
        inputs: what programs read from standard input, or files of it.
        outputs: what they are to write, as many.
        function: the function's name; None: as the stub or the tests say.

    Raises:
        UsageError: something is missing, does not go together, or is broken.
    """
    if not given.strip():
        raise UsageError("the description is empty; say in words what the function is to do")
    if inputs or outputs:
        if asserts or test_file is not None or function is not None or _is_stub(given):
            raise UsageError(
                "--stdin and --expect test a whole program, described in words; leave out stub, "
                "--test, --tests and --function"
            )
        return _whole_program(given, inputs, outputs)
    if not asserts and test_file is None:
        raise UsageError(
            "there is no test; give at least one --test ASSERT, a file --tests FILE, or "
            "--stdin TEXT with --expect TEXT"
        )
    return _function(given, asserts, test_file, function)


def _whole_program(given: str, inputs: Sequence[str], outputs: Sequence[str]) -> Problem:
    from egcfg.interfaces.problem import Problem, StdioTest

    if len(inputs) != len(outputs):
        raise UsageError(
            f"{len(inputs)} --stdin and {len(outputs)} --expect; give one --expect for each --stdin"
        )
    texts = [(_text(stdin), _text(stdout)) for stdin, stdout in zip(inputs, outputs, strict=True)]
    return Problem(
        task_id="solve",
        description=given,
        entry_point=None,
        visible_tests=tuple(StdioTest(stdin, stdout) for stdin, stdout in dict(texts).items()),
        scorer="stdio",
    )


def _function(
    given: str, asserts: Sequence[str], test_file: Path | None, function: str | None
) -> Problem:
    from egcfg.datasets.assertions import called_functions, fault_in_assert, infer_entry_point
    from egcfg.datasets.stub import read_stub, read_tests
    from egcfg.interfaces.problem import AssertTest, Problem

    for test in asserts:
        fault = fault_in_assert(test)
        if fault is not None:
            raise UsageError(f"--test: {fault}")
    stub = read_stub(Path(given), function) if _is_stub(given) else None
    name = stub.entry_point if stub else function or infer_entry_point(asserts)
    if name is None:
        raise UsageError("the tests call no function in common; name it with --function NAME")
    for test in asserts:
        if name not in called_functions(test):
            raise UsageError(
                f"--test: {test.strip()!r} does not call {name!r}; test the function by its name"
            )
    tests, setup_code = list(asserts), ""
    if test_file is not None:
        found = read_tests(test_file, name, Path(given).stem if stub else None)
        for why in found.left_out:
            click.echo(printable_line(f"left out of {test_file}: {why}"), err=True)
        tests += found.asserts
        setup_code = found.setup_code
    return Problem(
        task_id="solve",
        description=stub.description if stub else given,
        entry_point=name,
        visible_tests=tuple(AssertTest(test) for test in dict.fromkeys(tests)),
        setup_code=setup_code,
        given_code=stub.given_code if stub else "",
    )


def _is_stub(given: str) -> bool:
    """Whether a description is the name of a file of Python, be it there or not."""
    return given.endswith(".py") and not any(char.isspace() for char in given)


def _text(given: str) -> str:
    """Return a text, or what the file of that name contains."""
    try:
        path = Path(given)
        return path.read_text(encoding="utf-8") if path.is_file() else given
    except (OSError, ValueError):  # too long for a name, or no text
        return given
