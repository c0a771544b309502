"""Looks at test asserts without running them: are they Python, which function are they about?"""

from __future__ import annotations

import ast
import builtins
import warnings
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["called_functions", "defined_names", "fault_in_assert", "infer_entry_point"]


def fault_in_assert(source: str) -> str | None:
    """Return what is wrong with one test, None if it is a single ``assert`` statement."""
    try:
        statements = _parse(source).body
    except SyntaxError as error:
        return f"syntax error in the test {source.strip()!r}: {error.msg}; correct it"
    except ValueError as error:
        return f"the test {source.strip()!r} is no Python: {error}; correct it"
    if len(statements) != 1 or not isinstance(statements[0], ast.Assert):
        return f"the test {source.strip()!r} must be one assert statement; rewrite it as one"
    return None


def infer_entry_point(
    tests: Sequence[str], setup_code: str = "", reference: str = ""
) -> str | None:
    """Return the function that every test calls, None if there is none.

    Of several, the one that `reference` (a known solution) defines, then one that is no builtin,
    then the outermost, leftmost one in the first test: ``solve`` in ``set(solve(Pair(1)))``.

    Raises:
        SyntaxError: a test or `setup_code` is not Python; a broken `reference` is ignored.
    """
    if not tests:
        return None
    common = set.intersection(*(set(called_functions(test)) for test in tests))
    common -= defined_names(setup_code)
    if not common:
        return None
    try:
        known = defined_names(reference)
    except (SyntaxError, ValueError):
        known = set()
    own = {name for name in common if not hasattr(builtins, name)}
    candidates = common & known or own or common
    return next(name for name in called_functions(tests[0]) if name in candidates)


def called_functions(source: str) -> Iterator[str]:
    """Yield the plain names that `source` calls, outermost and leftmost first.

    Raises:
        SyntaxError: `source` is not Python.
    """
    todo: list[ast.AST] = [_parse(source)]
    while todo:
        node = todo.pop(0)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
        todo[:0] = ast.iter_child_nodes(node)


def defined_names(source: str) -> set[str]:
    """Return the functions, classes and imports at the top level of `source`.

    Raises:
        SyntaxError: `source` is not Python.
    """
    return set(_definitions(_parse(source).body))


def _definitions(statements: Iterable[ast.stmt]) -> Iterator[str]:
    for statement in statements:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield statement.name
            case ast.Import() | ast.ImportFrom():
                for alias in statement.names:
                    yield alias.asname or alias.name.partition(".")[0]
            case _:
                pass


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():  # about escapes in data that is not ours
        warnings.simplefilter("ignore")
        return ast.parse(source.strip())
