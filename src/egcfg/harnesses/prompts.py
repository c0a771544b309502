"""The problem that a harness's prompt words: the stub in it, and the tests that it shows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from egcfg.datasets.assertions import called_functions, fault_in_assert, infer_entry_point
from egcfg.datasets.docstring_examples import completed, docstring_asserts, docstring_of
from egcfg.decoding.definitions import parse
from egcfg.errors import DataError
from egcfg.interfaces.problem import AssertTest, Problem

__all__ = ["problem_from_prompt"]

FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
ASSERT = re.compile(r"^[ \t]*(assert[ (].*?)[ \t]*$", re.MULTILINE)


def problem_from_prompt(text: str, task_id: str | None = None) -> Problem:
    """Return the problem that a prompt words, for harnesses that hand over no more.

    A function without a body in it, fenced or the prompt itself, is what to complete; the
    examples in its docstring and the asserts in the prompt are visible tests. Without one, the
    asserts say which function to write.

    Args:
        text: the prompt.
        task_id: what to call the problem; None: like its function.

    Raises:
        DataError: it shows neither such a function nor an assert about one.
    """
    sources = [source for source in ASSERT.findall(text) if fault_in_assert(source) is None]
    given_code, entry_point = next(_stubs(text), ("", None))
    if entry_point is None:
        entry_point = infer_entry_point(sources)
    if entry_point is None:
        raise DataError(
            f"{task_id or 'a problem'}: the prompt shows no function to complete and no assert "
            "about one; show its signature, or hand over the record that the prompt was made of"
        )
    about_it = [source for source in sources if entry_point in called_functions(source)]
    tests = [*docstring_asserts(given_code, entry_point), *about_it]
    alone = given_code.strip() == text.strip()
    return Problem(
        task_id=task_id or entry_point,
        description=(docstring_of(given_code, entry_point) if alone else "") or text.strip(),
        entry_point=entry_point,
        visible_tests=[AssertTest(test) for test in dict.fromkeys(tests)],
        given_code=given_code,
    )


def _stubs(text: str) -> Iterator[tuple[str, str]]:
    """Yield the beginnings of programs that end in a function to complete, and its name."""
    for code in (*FENCED.findall(text), text):
        try:
            tree = parse(completed(code))
        except SyntaxError:
            continue
        match tree:
            case ast.Module(body=[*_, ast.FunctionDef(name=name, body=body)]):
                if all(map(_does_nothing, body)):
                    yield code.rstrip() + "\n", name


def _does_nothing(statement: ast.stmt) -> bool:
    """Whether a statement leaves a function's body to be written; some prompts import there."""
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom():
            return True
    return False
