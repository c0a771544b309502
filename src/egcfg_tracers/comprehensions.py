"""Lets the engine see what comprehensions and generator expressions do, in every Python alike.

The interpreter tells hardly anything of them: their elements are never in a variable, and from
3.12 on those of lists, sets and dicts have no frame of their own. So the program is compiled with
three calls in each, which change nothing that it computes::

    [f(x) for x in xs if x]   ->   [element(f(x), 7) for x in begin(xs, 7) if bound(7, x) if x]

The three are constants of the code, found by no name. Inserted instructions have places of width
zero in the source, by which they can be told from the program's own.

Runs inside the watched program's process: standard library only.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import re
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

__all__ = ["INSIDE", "NAMES", "OUTSIDE", "Comprehension", "Hooks", "compile_watched"]

# Functions look builtins up here, so a program that patches `builtins` does not reach us.
globals()["__builtins__"] = dict(vars(builtins))

_KINDS = {
    ast.ListComp: "<listcomp>",
    ast.SetComp: "<setcomp>",
    ast.DictComp: "<dictcomp>",
    ast.GeneratorExp: "<genexpr>",
}
NAMES = frozenset(_KINDS.values())
"""Names of the code objects that comprehensions may have."""

_MARK = "\0egcfg hook "  # in the constants of compiled code, until a function takes its place
_FOR = re.compile(rb"\bfor\b")
_LOOP = re.compile(rb"^[ \t]*(?:async[ \t]+)?for\b[^\[({]*:", re.MULTILINE)
_Place = tuple[int, int]


INSIDE, OUTSIDE = 1, 2
"""Columns at which inserted code begins and ends: in a comprehension, and before it runs."""


class _Mark(NamedTuple):
    line: int
    column: int


class Comprehension(NamedTuple):
    """One comprehension of a program.

    Attributes:
        name: as its code object is named.
        line: where it begins.
        nesting: comprehensions that it is inside of, itself included.
        variables: names that each of its ``for`` clauses binds.
        start: line and column at which it begins.
        end: line and column at which it ends.
        outer: start and end of what its first clause runs over, which is no part of it.
    """

    name: str
    line: int
    nesting: int
    variables: tuple[tuple[str, ...], ...]
    start: _Place
    end: _Place
    outer: tuple[_Place, _Place]


class Hooks(NamedTuple):
    """What is called; `number` is that of the comprehension, in order of `compile_watched`.

    Attributes:
        begin: ``(iterable, number) -> iterable``: it is about to run.
        bound: ``(number, clause, *values) -> True``: a clause has bound its variables.
        element: ``(value, number) -> value``: this is an element, or the value of an entry.
        key: ``(value, number) -> value``: this is the key of an entry.
    """

    begin: Callable[..., Any]
    bound: Callable[..., Any]
    element: Callable[..., Any]
    key: Callable[..., Any]


def compile_watched(
    source: bytes, filename: str, hooks: Hooks
) -> tuple[types.CodeType, list[Comprehension]]:
    """Compile the content of a program's file; return it with its comprehensions.

    Raises:
        SyntaxError: and whatever else `compile` raises.
    """
    if len(_FOR.findall(source)) > len(_LOOP.findall(source)):
        with contextlib.suppress(Exception):  # whatever is wrong with it, `compile` says it below
            return _compile_with_hooks(source, filename, hooks)
    return compile(source, filename, "exec", dont_inherit=True), []


def _compile_with_hooks(
    source: bytes, filename: str, hooks: Hooks
) -> tuple[types.CodeType, list[Comprehension]]:
    tree: Any = compile(source, filename, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    found: list[Comprehension] = []
    _insert(tree, found)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'str' object is not callable")
        code = compile(tree, filename, "exec", dont_inherit=True)
    return _with_hooks(code, hooks), found


def _insert(tree: ast.AST, found: list[Comprehension]) -> None:
    """Insert the calls into all comprehensions of `tree`."""
    todo = [(tree, 1)]
    while todo:
        node, nesting = todo.pop()
        inner = nesting
        children = [*ast.iter_child_nodes(node)]
        if type(node) in _KINDS:
            inner += 1
            outer = node.generators[0].iter  # type: ignore[attr-defined]
            children = [child for child in _parts(node) if child is not outer]
            todo.append((outer, nesting))
            _insert_calls(node, found, nesting)
        todo += [(child, inner) for child in reversed(children)]


def _parts(node: Any) -> Iterator[ast.AST]:
    for name in ("elt", "key", "value"):
        if hasattr(node, name):
            yield getattr(node, name)
    for clause in node.generators:
        yield from (clause.target, clause.iter, *clause.ifs)


def _insert_calls(node: Any, found: list[Comprehension], nesting: int) -> None:
    number = len(found)
    outer = node.generators[0].iter
    variables = []
    inside, outside = _Mark(node.lineno, INSIDE), _Mark(node.lineno, OUTSIDE)
    for position, clause in enumerate(node.generators):
        names = tuple(
            name.id
            for name in ast.walk(clause.target)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        )
        variables.append(names)
        loads = [_placed(ast.Name(name, ast.Load()), inside) for name in names]
        clause.ifs.insert(0, _call("bound", inside, number, position, *loads))
    found.append(
        Comprehension(
            _KINDS[type(node)],
            node.lineno,
            nesting,
            tuple(variables),
            (node.lineno, node.col_offset),
            (node.end_lineno, node.end_col_offset),
            ((outer.lineno, outer.col_offset), (outer.end_lineno, outer.end_col_offset)),
        )
    )
    node.generators[0].iter = _call("begin", outside, outer, number)
    if isinstance(node, ast.DictComp):
        node.key = _call("key", inside, node.key, number)
        node.value = _call("element", inside, node.value, number)
    else:
        node.elt = _call("element", inside, node.elt, number)


def _call(hook: str, where: _Mark, *arguments: Any) -> Any:
    constants: list[Any] = [
        argument if isinstance(argument, ast.AST) else _placed(ast.Constant(argument), where)
        for argument in arguments
    ]
    return _placed(ast.Call(_placed(ast.Constant(_MARK + hook), where), constants, []), where)


def _placed(node: Any, where: _Mark) -> Any:
    node.lineno = node.end_lineno = where.line
    node.col_offset = node.end_col_offset = where.column
    return node


def _with_hooks(code: types.CodeType, hooks: Hooks) -> types.CodeType:
    """Put the functions in the place of their marks, in the code and those in it."""
    constants: list[Any] = []
    for constant in code.co_consts:
        if type(constant) is types.CodeType:
            constant = _with_hooks(constant, hooks)
        elif type(constant) is str and constant.startswith(_MARK):
            constant = getattr(hooks, constant.removeprefix(_MARK))
        constants.append(constant)
    return code.replace(co_consts=tuple(constants))
