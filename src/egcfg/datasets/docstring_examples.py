"""Turns the examples in a function's docstring into asserts.

Understood, in any mixture: doctest's ``>>> f(2)`` with the value below it; a call followed by its
value, as in ``f(2) == 4``, ``f(2) => 4``, ``f(2) ➞ 4``, ``f(2) = 4``, ``f(2) returns 4``; inputs
described by name, as in ``For x = 2 the output should be 4`` and ``Input: x = 2``/``Output: 4``.
An example counts only if its arguments and its value are Python literals; whatever is not certain
is left out.
"""

from __future__ import annotations

import ast
import builtins
import doctest
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, product
from typing import TypeAlias

__all__ = ["completed", "docstring_asserts", "docstring_of"]

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

# An example: the source of an expression that calls the function, the source of its value.
_Example = tuple[str, str]


def docstring_asserts(code: str, function: str) -> list[str]:
    """Return one assert statement per example in the docstring of `function`.

    Args:
        code: source that defines `function`, or the beginning of one (see `completed`).
        function: its name.
    """
    code, node = _definition(code, function)
    if not isinstance(node, _Function):
        return []
    text = _docstring_source(code, node)
    examples: dict[str, str] = {}
    for call, value in chain(
        _doctest_examples(text, function),
        _call_examples(text, function),
        _named_examples(text, node),
    ):
        examples.setdefault(call, value)
    return [f"assert {call} == {value}" for call, value in examples.items()]


def docstring_of(code: str, name: str) -> str:
    """Return the docstring of the function or class `name` in `code`, or else the module's own.

    Empty where there is none, or `code` is not the beginning of a program.
    """
    code, node = _definition(code, name)
    if node is not None and (text := ast.get_docstring(node)):
        return text
    try:
        return ast.get_docstring(_parse(code)) or ""
    except SyntaxError:
        return ""


def completed(code: str) -> str:
    """Return the beginning of a program with as little added as makes it Python.

    A definition may lack its body (or have a comment in place of one), a docstring its end.

    Raises:
        SyntaxError: it is not the beginning of a Python program.
    """
    try:
        _parse(code)
    except SyntaxError:
        code = code.rstrip()
        last = code.rpartition("\n")[2]
        indent = last[: len(last) - len(last.lstrip())]
        bodies = ["", *(f"\n{indent}{deeper}pass" for deeper in ("", "    ", "\t", " "))]
        for quotes, body in product(("", '"""', "'''"), bodies):
            with suppress(SyntaxError):
                _parse(code + quotes + body)
                return f"{code}{quotes}{body}\n"
        raise
    return code


def _definition(code: str, name: str) -> tuple[str, _Function | ast.ClassDef | None]:
    """Return completed code, and the last definition of `name` in it."""
    try:
        code = completed(code)
    except SyntaxError:
        return code, None
    found = [
        node
        for node in ast.walk(_parse(code))
        if isinstance(node, _Function | ast.ClassDef) and node.name == name
    ]
    return code, found[-1] if found else None


def _docstring_source(code: str, node: _Function) -> str:
    """The docstring as it is written: ``\\n`` in an example stays an escape."""
    match node.body[0]:
        case ast.Expr(value=ast.Constant(value=str()) as constant):
            source = ast.get_source_segment(code, constant) or ""
            return source.lstrip("rRuU").strip("\"'")
        case _:
            return ""


# --- f(2) below >>> ---------------------------------------------------------------------------


def _doctest_examples(text: str, function: str) -> Iterator[_Example]:
    text = re.sub(r"(?m)^([ \t]*>>>)(?=\S)", r"\1 ", text)
    try:
        examples = doctest.DocTestParser().get_examples(text)
    except ValueError:  # inconsistent indentation
        return
    for example in examples:
        call = _certain_call(example.source, function)
        value = _leading_literal(example.want)
        if call and value:
            yield call, value


# --- f(2) == 4 and its like -------------------------------------------------------------------

_RETURNS = re.compile(
    r"\s*(?:#\s*)?(?:={1,3}>?|-+>|➞|➔|→|(?:should\s+|will\s+)?returns?\b:?)\s*", re.IGNORECASE
)


def _call_examples(text: str, function: str) -> Iterator[_Example]:
    for match in re.finditer(rf"\b{re.escape(function)}\(", text):
        source = _balanced(text, match.start(), match.end() - 1)
        call = _certain_call(source, function)
        if not call:
            continue
        rest = text[match.start() + len(source) :]
        arrow = _RETURNS.match(rest)
        if arrow:
            value = _leading_literal(rest[arrow.end() :])
            if value:
                yield call, value


def _balanced(text: str, start: int, opening: int) -> str:
    """The shortest expression from `start` whose parenthesis at `opening` is closed."""
    end = opening
    while (end := text.find(")", end + 1)) >= 0:
        source = text[start : end + 1]
        try:
            _parse(source)
        except SyntaxError:
            continue
        return source
    return ""


# --- For x = 2 the output should be 4 ---------------------------------------------------------

_NAMED = re.compile(
    r"^[ \t]*(?:for|input:)[ \t]+(?P<inputs>[^\n]+?),?\s+(?:the output should be|output:)[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)


def _named_examples(text: str, node: _Function) -> Iterator[_Example]:
    parameters = [argument.arg for argument in node.args.args]
    for match in _NAMED.finditer(text):
        try:
            call = _expression(f"{node.name}({match['inputs']})")
        except SyntaxError:
            continue
        if not isinstance(call, ast.Call):
            continue
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        if given and not call.args and list(given) == parameters:
            call = ast.Call(func=call.func, args=list(given.values()), keywords=[])
        if call.keywords or len(call.args) != len(parameters):
            continue
        source = _certain_call(ast.unparse(call), node.name)
        value = _leading_literal(text[match.end() :])
        if source and value:
            yield source, value


# --- literals ---------------------------------------------------------------------------------


def _certain_call(source: str, function: str) -> str | None:
    """`source` if it is one expression about `function` of literals and builtins, normalised."""
    try:
        expression = _expression(source.strip())
    except SyntaxError:
        return None
    if not isinstance(expression, ast.Call):
        return None
    names = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
    if function not in names or any(n != function and not hasattr(builtins, n) for n in names):
        return None
    return ast.unparse(expression)


def _leading_literal(text: str) -> str | None:
    """The literal that `text` starts with, normalised, if nothing uncertain follows it.

    A literal may span lines. ``19 - 5 - 6 = 8`` counts as 8.
    """
    paragraph = re.split(r"\n[ \t]*\n", text.strip(" \t"), maxsplit=1)[0]
    lines = paragraph.split("\n")
    for count in range(len(lines), 0, -1):
        value = _literal("\n".join(lines[:count]))
        if value:
            return value
    first = lines[0].strip()
    without_remark = re.split(r"\s+(?:#|\()", first, maxsplit=1)[0]
    arithmetic = re.fullmatch(r"[\d\s.*/+-]+ = (?P<value>-?[\d.]+)", first)
    return _literal(arithmetic["value"] if arithmetic else without_remark)


def _literal(text: str) -> str | None:
    text = text.strip().removesuffix(".")
    text = {"true": "True", "false": "False"}.get(text, text)
    try:
        value = ast.literal_eval(_expression(text))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None
    if text.startswith("(") and not isinstance(value, tuple):
        return None  # ("a"): most likely a tuple that lost its comma
    return repr(value)


def _expression(source: str) -> ast.expr:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source, mode="eval").body


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():  # about escapes in data that is not ours
        warnings.simplefilter("ignore")
        return ast.parse(source)
