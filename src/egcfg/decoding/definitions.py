"""What a program defines, what it lacks, and what of other code supplies it."""

from __future__ import annotations

import ast
import builtins
import enum
import re
import symtable
import warnings
from collections.abc import Iterable, Iterator, Sequence

from egcfg.decoding.lexing import definition_opening

__all__ = ["Strength", "bound_names", "missing_names", "parse", "preamble", "strength", "supplied"]

# What the parser raises on text that a model may write: null bytes, hopeless nesting.
UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)

_NAMES_OF_A_MODULE = frozenset(dir(builtins)) | {"__file__", "__path__", "__builtins__"}


class Strength(enum.IntEnum):
    """How much of an answer a program is.

    * ``NONE``: it does not define what was asked for; of whole programs: it does nothing.
    * ``WEAK``: it only imports the function, as a test of it does, or leaves its body out.
    * ``FULL``: it defines the function; of whole programs: it prints.
    * ``READS``: a whole program that reads as well as prints.
    """

    NONE = 0
    WEAK = 1
    FULL = 2
    READS = 3


def parse(text: str) -> ast.Module | None:
    """Return the syntax tree of `text`; None if it is no Python."""
    with warnings.catch_warnings():
        # An invalid escape sequence is the model's style, not the user's concern.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except UNPARSABLE:
            return None


def strength(tree: ast.Module, entry_point: str | None) -> Strength:
    """Return how much of an answer a program is.

    Args:
        tree: the program.
        entry_point: the function asked for; None for a whole program.
    """
    if entry_point is None:
        return _strength_of_whole(tree)
    return max(
        (_binding(statement, entry_point) for statement in _statements(tree.body)),
        default=Strength.NONE,
    )


def _strength_of_whole(tree: ast.Module) -> Strength:
    if all(isinstance(s, ast.Expr) and not _calls(s) for s in tree.body):
        return Strength.NONE
    names = {_last_name(node) for node in ast.walk(tree)}
    if not names & {"print", "write", "writelines"}:
        return Strength.WEAK
    return Strength.READS if names & {"input", "stdin", "open"} else Strength.FULL


def _calls(statement: ast.stmt) -> bool:
    return any(isinstance(node, ast.Call) for node in ast.walk(statement))


def _last_name(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return None


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, those under conditions, loops and `try` included."""
    for statement in body:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for field in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(statement, field, ()))
            for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
                yield from _statements(part.body)


def _binding(statement: ast.stmt, name: str) -> Strength:
    """Return how a statement binds a name of its module."""
    if name not in _bound(statement):
        return Strength.NONE
    match statement:
        case ast.Import() | ast.ImportFrom():
            return Strength.WEAK
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return Strength.WEAK if _is_stub(statement.body) else Strength.FULL
        case ast.ClassDef():
            return Strength.FULL
    # `f = cache(f)` takes a function that is there already.
    value = getattr(statement, "value", None)
    uses = value is not None and any(_last_name(n) == name for n in ast.walk(value))
    inside = any(isinstance(n, ast.Lambda) for n in ast.walk(statement))
    return Strength.NONE if uses and not inside else Strength.FULL


def _is_stub(body: Sequence[ast.stmt]) -> bool:
    """Whether a function's body says only that it is yet to be written."""
    for statement in body:
        match statement:
            case ast.Pass() | ast.Expr(value=ast.Constant()):
                continue
            case ast.Raise(exc=ast.AST() as exc) if "NotImplementedError" in ast.unparse(exc):
                continue
        return False
    return True


def _bound(statement: ast.stmt) -> set[str]:
    """Return the names that one statement binds, without those of statements in it."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Import(names=names):
            return {alias.asname or alias.name.partition(".")[0] for alias in names}
        case ast.ImportFrom(names=names):
            return {alias.asname or alias.name for alias in names}
        case ast.AnnAssign(value=None) | ast.AugAssign():
            return set()
        case ast.Assign(targets=targets):
            return {name for target in targets for name in _stored(target)}
        case ast.AnnAssign(target=target) | ast.For(target=target):
            return set(_stored(target))
        case ast.With(items=items):
            return {n for i in items if i.optional_vars for n in _stored(i.optional_vars)}
    return set()


def _stored(target: ast.expr) -> Iterator[str]:
    for node in ast.walk(target):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                yield name


def preamble(given_code: str, entry_point: str | None) -> str:
    """Return the part of given code that a full answer does not repeat: imports and helpers.

    That is everything before the definition of the entry point, or all of it if it has none.
    """
    if entry_point is None:
        return given_code
    lines = given_code.splitlines(keepends=True)
    tree = parse(given_code)
    if tree is None:  # most likely a signature without a body
        opening = definition_opening(entry_point)
        number = next((n for n, line in enumerate(lines) if opening.match(line)), len(lines))
        while number and number < len(lines) and lines[number - 1].startswith("@"):
            number -= 1
        return "".join(lines[:number])
    for statement in tree.body:
        if entry_point in _bound(statement):
            decorators = getattr(statement, "decorator_list", ())
            first = min(s.lineno for s in (statement, *decorators))
            return "".join(lines[: first - 1])
    return given_code


# --- what is missing ----------------------------------------------------------------------------


def bound_names(source: str) -> frozenset[str]:
    """Return the names that a module binds; none if it is no Python."""
    tree = parse(source)
    return frozenset(n for s in _statements(tree.body) for n in _bound(s)) if tree else frozenset()


def missing_names(source: str) -> frozenset[str]:
    """Return the names that a program uses and neither it nor Python defines.

    Of text that does not compile, every name in it may be one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            table = symtable.symtable(source, "program", "exec")
        except UNPARSABLE:
            return frozenset(re.findall(r"[^\W\d]\w*", source))
    bound, used, todo = set(_NAMES_OF_A_MODULE), set(), [table]
    while todo:
        scope = todo.pop()
        todo += scope.get_children()
        for symbol in scope.get_symbols():
            of_module = scope is table or symbol.is_global()
            if symbol.get_name() == "*" or not of_module:
                continue
            if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                bound.add(symbol.get_name())
            if symbol.is_referenced():
                used.add(symbol.get_name())
    stars = any(
        isinstance(s, ast.ImportFrom) and s.names[0].name == "*"
        for s in ast.walk(ast.parse(source))
    )
    return frozenset() if stars else frozenset(used - bound)


def supplied(source: str, others: Sequence[str], entry_point: str | None) -> str:
    """Return a program with the definitions before it that it lacks and other code has.

    Args:
        source: the program, finished or not.
        others: other code of the same answer, in order; the last definition of a name counts.
        entry_point: the function asked for, which no other code supplies.
    """
    definitions: dict[str, ast.stmt] = {}
    for statement in (s for code in others for s in getattr(parse(code), "body", ())):
        is_value = isinstance(statement, ast.Assign | ast.AnnAssign) and not _calls(statement)
        if is_value or isinstance(
            statement,
            ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
        ):
            definitions |= dict.fromkeys(_bound(statement) - {entry_point}, statement)
    needed: list[ast.stmt] = []
    missing = missing_names(source) - bound_names(source)
    while new := [s for n in missing if (s := definitions.get(n)) is not None and s not in needed]:
        needed += dict.fromkeys(new)
        missing = frozenset().union(*(missing_names(ast.unparse(statement)) for statement in new))
    order = list(dict.fromkeys(definitions.values()))
    parts = [ast.unparse(s) + "\n" for s in sorted(needed, key=order.index)]
    return "".join(parts) + source
