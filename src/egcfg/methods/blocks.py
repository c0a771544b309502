"""Cuts the trace of a run into the basic blocks that it went through, with the values around each.

A basic block is code that runs from its first line to its last one whatever happens: simple
statements in a row, up to and with the condition that comes after them. A loop's header is a block
of its own, since the run comes back to it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence

from attrs import define, field, frozen

from egcfg.decoding.definitions import parse
from egcfg.interfaces.tracer import EventKind, Trace, TraceEvent, Value

__all__ = ["Block", "executed_blocks", "shown_blocks"]

LONGEST_VALUE = 100


@frozen(kw_only=True)
class Block:
    """One pass through a basic block.

    Attributes:
        lines: the program's lines, from 1, in the order in which they ran.
        before: the local variables when it began.
        after: when it ended.
        left: how it left the function, as text; empty if it did not.
    """

    lines: tuple[int, ...]
    before: Mapping[str, Value]
    after: Mapping[str, Value]
    left: str = ""

    def text(self, source: str) -> str:
        """Return the block for a prompt, its values as comments."""
        code = source.splitlines()
        shown = [code[line - 1] for line in self.lines if line <= len(code)]
        ends = f"# after: {_values(self.after)}" + (f"; {self.left}" if self.left else "")
        return "\n".join([f"# before: {_values(self.before)}", *shown, ends])


@frozen
class _Place:
    """Where a line is: in which basic block, and in a statement of which lines."""

    block: int
    first: int
    last: int


@define
class _Activation:
    """A call that is being followed: its variables, and the block that it is in."""

    values: dict[str, Value] = field(factory=dict)
    lines: list[int] = field(factory=list)
    at: _Place | None = None
    before: dict[str, Value] = field(factory=dict)
    place: int = -1  # of the block among all


def executed_blocks(trace: Trace) -> list[Block]:
    """Return the blocks of a run, in the order in which they began.

    The module's own lines are left out where the run was a call. Empty where nothing was traced.
    """
    places = _places(trace.source)
    activations: dict[int, _Activation] = {}
    blocks: dict[int, Block] = {}
    begun = 0

    def end(activation: _Activation, left: str = "") -> None:
        if activation.lines:
            blocks[activation.place] = Block(
                lines=tuple(activation.lines),
                before=activation.before,
                after=dict(activation.values),
                left=left,
            )
        activation.lines, activation.at = [], None

    for event in trace.events:
        if event.function.startswith("<") and (event.depth > 1 or trace.call is not None):
            continue  # the module, and comprehensions, which are part of their lines
        activation = activations.setdefault(event.activation, _Activation())
        activation.values |= event.delta
        match event.kind:
            case EventKind.LINE:
                place = places.get(event.line, _Place(-1, event.line, event.line))
                if activation.at == place and place.first < place.last:
                    continue  # another line of the same statement
                number = -1 if activation.at is None else activation.at.block
                if number != place.block or number == -1 or place.first in activation.lines:
                    end(activation)
                    activation.before, activation.place = dict(activation.values), begun
                    begun += 1
                activation.lines += range(place.first, place.last + 1)
                activation.at = place
            case EventKind.RETURN | EventKind.UNWIND | EventKind.YIELD:
                end(activation, _left(event))
            case _:
                pass
    for activation in activations.values():  # a run that was cut, or ended in the middle
        end(activation)
    return [blocks[place] for place in sorted(blocks)]


def shown_blocks(blocks: Sequence[Block], most: int) -> list[tuple[int, Block]]:
    """Return the blocks to show with their numbers from 1: of too many, the first and last ones."""
    numbered = list(enumerate(blocks, 1))
    if len(numbered) <= most:
        return numbered
    first = (most + 1) // 2
    return numbered[:first] + numbered[len(numbered) - (most - first) :]


def _left(event: TraceEvent) -> str:
    if event.raised is not None:
        return f"raises {event.raised.type}: {event.raised.message}"
    verb = "yields" if event.kind is EventKind.YIELD else "returns"
    return f"{verb} {_cut(event.value.text)}" if event.value is not None else verb


def _values(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name} = {_cut(v.text)}" for name, v in values.items()) or "nothing"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "..."


def _places(source: str) -> dict[int, _Place]:
    """Return the place of each line of a program that is part of a statement."""
    places: dict[int, _Place] = {}
    tree = parse(source)
    for number, block in enumerate(_static_blocks(tree.body) if tree else ()):
        for statement in block:
            first, last = statement.lineno, statement.end_lineno or statement.lineno
            if body := getattr(statement, "body", None):  # of a compound statement, its header
                last = max(first, body[0].lineno - 1)
            places |= dict.fromkeys(range(first, last + 1), _Place(number, first, last))
    return places


def _static_blocks(body: Sequence[ast.stmt]) -> Iterator[list[ast.stmt]]:
    """Yield the statements of each basic block, those of nested bodies as well."""
    block: list[ast.stmt] = []
    for statement in body:
        inner = list(_bodies(statement))
        if isinstance(statement, ast.For | ast.AsyncFor | ast.While) and block:
            yield block
            block = []
        block.append(statement)
        if inner:
            yield block
            block = []
            for each in inner:
                yield from _static_blocks(each)
    if block:
        yield block


def _bodies(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        if body := getattr(statement, name, None):
            yield body
    for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield part.body
