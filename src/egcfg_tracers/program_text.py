"""What a traced program's source tells about its lines: statements, loops, classes."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from egcfg.interfaces.tracer import EventKind, TraceEvent
from egcfg_tracers.values import clean

__all__ = ["ProgramText"]

_MAX_SOURCE = 100
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class ProgramText:
    """A program's source, line by line.

    Attributes:
        loops: the last line of each loop, by its first.
        classes: first line, decorators included, and name of each class.
    """

    def __init__(self, source: str) -> None:
        self._lines = source.splitlines()
        self._statements: dict[int, int] = {}  # line -> first line of the statement it is part of
        self._ends: dict[int, int] = {}  # first line of a statement of several -> its last
        self.loops: dict[int, int] = {}
        self.classes: set[tuple[int, str]] = set()
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return  # it has not run either
        for node in ast.walk(tree):
            if isinstance(node, ast.stmt):
                self._add_statement(node)
            if isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
                end = max(child.end_lineno or child.lineno for child in node.body)
                self.loops[node.lineno] = max(self.loops.get(node.lineno, 0), end)
            elif isinstance(node, ast.ClassDef):
                first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
                self.classes.add((first, node.name))

    def _add_statement(self, node: ast.stmt) -> None:
        """Note the lines of a statement, or those before the body of one that has a body."""
        body = [*getattr(node, "body", ()), *getattr(node, "cases", ())]
        inner = [getattr(child, "pattern", child) for child in body]
        last = min((child.lineno for child in inner), default=(node.end_lineno or 0) + 1) - 1
        if last > node.lineno and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            self._ends[node.lineno] = last
            for line in range(node.lineno, last + 1):
                self._statements[line] = node.lineno

    def start(self, line: int) -> int:
        """Return the first line of the statement that `line` is part of."""
        return self._statements.get(line, line)

    def statement(self, line: int) -> str:
        """Return the text of the statement that begins at `line`, bounded, on one line."""
        lines = self._lines[line - 1 : self._ends.get(line, line)] if line > 0 else []
        joined = " ".join(text for text in map(str.strip, lines) if text[:1] != "#")
        return clean(joined.strip(), _MAX_SOURCE)

    def class_bodies(self, events: Iterable[TraceEvent]) -> set[int]:
        """Return the activations that are the body of a class statement."""
        calls = (event for event in events if event.kind is EventKind.CALL)
        return {event.activation for event in calls if (event.line, event.function) in self.classes}

    def line(self, line: int) -> str:
        """Return the text of one line, bounded, without its indentation."""
        return clean("".join(self._lines[line - 1 : line] if line > 0 else []).strip(), _MAX_SOURCE)

    def indented(self, line: int, limit: int) -> str:
        """Return one line with its indentation; an empty text where there is no such line."""
        lines = self._lines[line - 1 : line] if line > 0 else []
        return clean("".join(lines).expandtabs(4).rstrip(), limit)
