"""The functions of a program as a tree: who calls whom, and how one takes another's place."""

from __future__ import annotations

import ast

from attrs import frozen

from egcfg.decoding.definitions import parse

__all__ = ["FunctionTree"]

_Definition = ast.FunctionDef | ast.AsyncFunctionDef


@frozen
class FunctionTree:
    """A program whose functions are looked at one by one.

    Attributes:
        source: the program; what is no Python has no functions.
    """

    source: str

    @property
    def functions(self) -> dict[str, str]:
        """The source of each function at the top level, by its name; the last one of a name."""
        return {
            statement.name: self._text(statement)
            for statement in self._statements
            if isinstance(statement, _Definition)
        }

    def below(self, root: str | None) -> list[str]:
        """Return the functions that `root` calls, directly or not, callees before their callers.

        Where functions call each other in a circle, the one that is reached first comes last.

        Args:
            root: a function, itself not returned; None: the whole program.
        """
        definitions = {s.name: s for s in self._statements if isinstance(s, _Definition)}
        order: list[str] = []
        seen: set[str | None] = {root}

        def visit(node: ast.AST) -> None:
            for name in dict.fromkeys(n.id for n in ast.walk(node) if isinstance(n, ast.Name)):
                if name in definitions and name not in seen:
                    seen.add(name)
                    visit(definitions[name])
                    order.append(name)

        if root in definitions:
            visit(definitions[root])
        elif root is None:
            for statement in self._statements:
                if not isinstance(statement, _Definition):
                    visit(statement)
        return order

    def with_definitions(self, part: str) -> FunctionTree:
        """Return the program with the definitions of `part` in place of its own of the same names.

        What it lacks comes before the rest; statements of `part` that define nothing are dropped.
        """
        other = FunctionTree(part)
        new = {
            key: other._text(statement)
            for statement in other._statements
            if (key := other._key(statement)) is not None
        }
        first: list[str] = []
        kept: dict[object, str] = {}
        for place, statement in enumerate(self._statements):
            key = self._key(statement)
            if _must_come_first(statement):
                first.append(self._text(statement))
            elif key in new:  # once, where it is defined several times
                kept[key] = new[key]
            else:
                kept[place] = self._text(statement)
        added = [text for key, text in new.items() if key not in kept and text not in first]
        return FunctionTree("\n\n".join([*first, *added, *kept.values()]) + "\n")

    @property
    def _statements(self) -> list[ast.stmt]:
        tree = parse(self.source)
        return [] if tree is None else tree.body

    def _key(self, statement: ast.stmt) -> str | None:
        """Return what a statement defines: a name, or an import by its own text."""
        match statement:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                return name
            case ast.Import() | ast.ImportFrom():
                return self._text(statement)
        return None

    def _text(self, statement: ast.stmt) -> str:
        """Return a statement as it is written; `ast.unparse` fails on what nests deeply."""
        decorators = getattr(statement, "decorator_list", [])
        if decorators:
            lines = self.source.splitlines()
            return "\n".join(lines[decorators[0].lineno - 1 : statement.end_lineno])
        return ast.get_source_segment(self.source, statement) or ""


def _must_come_first(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
