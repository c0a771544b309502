"""Partial code -> programs that can run (step 3b of the method).

A candidate ends wherever its horizon or the sampler cut it. Its executable program is the longest
prefix, in whole lines, that parses; comments and docstrings go, since they cost tokens and do
nothing.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator

from attrs import frozen

__all__ = ["Program", "distinct_programs", "executable_program"]

# What the parser raises on text that a model may write: null bytes, hopeless nesting.
UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


@frozen
class Program:
    """An executable program.

    Attributes:
        source: normalised source text.
        samples: how many of the given texts led to it.
    """

    source: str
    samples: int


def executable_program(text: str, entry_point: str | None) -> str | None:
    """Return the executable program of `text`, or None if there is none.

    Args:
        text: code, possibly cut off anywhere.
        entry_point: function that the program must define; None accepts any program.

    Returns:
        The longest prefix of whole lines that parses once an empty block at its end has a `pass`
        and an unfinished `try` has an empty `finally`; without comments and docstrings, as
        `ast.unparse` prints it. Equal programs give equal text.
    """
    lines = text.split("\n")
    for end in range(len(lines), 0, -1):
        for completed in _completions(lines[:end]):
            tree = _parse(completed)
            if tree is not None:
                return _normalise(tree, entry_point)
    return None


def distinct_programs(texts: Iterable[str], entry_point: str | None) -> list[Program]:
    """Return the distinct executable programs of `texts`, in order of first appearance."""
    counts: dict[str, int] = {}
    for text in texts:
        source = executable_program(text, entry_point)
        if source is not None:
            counts[source] = counts.get(source, 0) + 1
    return [Program(source, samples) for source, samples in counts.items()]


def _completions(lines: list[str]) -> Iterator[str]:
    """Yield `lines` as they are, then with what an open block at their end may lack."""
    text = "\n".join(lines)
    yield text
    last = next((line for line in reversed(lines) if line.strip()), "")
    body = text + "\n" + _indent(last) + "    pass" if _opens_block(last) else text
    if body is not text:
        yield body
    for indent in _open_tries(lines):
        body += f"\n{indent}finally:\n{indent}    pass"
        yield body


def _opens_block(line: str) -> bool:
    # A comment may follow the colon; a wrong guess costs one failed parse, no more.
    return line.partition("#")[0].rstrip().endswith(":")


def _open_tries(lines: list[str]) -> list[str]:
    """Return the indents of the `try` lines without a handler, innermost first."""
    tries: list[str] = []
    for line in lines:
        words = line.strip()
        if words.startswith("try:"):
            tries.append(_indent(line))
        elif words.startswith(("except", "finally")) and _indent(line) in tries:
            # Whatever was opened deeper ended before this line.
            del tries[tries.index(_indent(line)) :]
    return tries[::-1]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _parse(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        # An invalid escape sequence is the model's style, not the user's concern.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except UNPARSABLE:
            return None


def _normalise(tree: ast.Module, entry_point: str | None) -> str | None:
    """Return the source of `tree` without docstrings; None if it lacks its entry point."""
    if not tree.body or (entry_point is not None and not _defines(tree, entry_point)):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _drop_docstring(node)
    try:
        return ast.unparse(tree) or None
    except RecursionError:
        return None


def _defines(tree: ast.Module, name: str) -> bool:
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=defined) | ast.AsyncFunctionDef(name=defined):
                if defined == name:
                    return True
            case ast.Assign(targets=targets):
                if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                    return True
    return False


def _drop_docstring(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> None:
    match node.body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            node.body = rest
    if not node.body and not isinstance(node, ast.Module):
        node.body = [ast.Pass()]
