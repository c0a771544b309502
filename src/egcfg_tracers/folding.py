"""Shortens a list of steps: loops to their first and last iterations, functions to a few calls."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from attrs import frozen

from egcfg_tracers.steps import COMPREHENSION_FRAMES, Step

__all__ = ["Keep", "fold", "loop_spans"]

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@frozen
class Keep:
    """How much of what repeats is kept.

    Attributes:
        first: iterations of a loop from its start.
        last: iterations of a loop from its end.
        first_calls: calls of a function from the start.
        last_calls: calls of a function from the end.
    """

    first: int
    last: int
    first_calls: int
    last_calls: int


def loop_spans(tree: ast.Module) -> dict[int, int]:
    """Return the first and last lines of the loops and comprehensions in a program."""
    spans: dict[int, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
            end = max(child.end_lineno or child.lineno for child in node.body)
        elif isinstance(node, _COMPREHENSIONS):
            end = node.end_lineno or node.lineno
        else:
            continue
        spans[node.lineno] = max(spans.get(node.lineno, 0), end)
    return spans


def fold(steps: Sequence[Step], spans: Mapping[int, int], keep: Keep) -> list[Step]:
    """Return `steps` without the middle of long loops and of long series of calls.

    Pinned steps stay. Each gap is told in a step of its own.
    """
    return _fold_calls(_fold_loops(steps, spans, keep), keep)


def _fold_loops(steps: Sequence[Step], spans: Mapping[int, int], keep: Keep) -> list[Step]:
    hidden: set[int] = set()
    notes: dict[int, str] = {}
    # Outer loops first: what is hidden with them needs no note of its own.
    for visits in sorted(_loops(steps, spans), key=lambda run: run[0] - run[-1]):
        count = len(visits) - 1 - keep.first - keep.last  # the last visit ends the loop
        if count < 2:
            continue
        start, end = visits[keep.first], visits[-1 - keep.last]
        if start not in hidden:
            hidden.update(range(start, end))
            notes[start] = f"... {count} more iterations"
    return _without(steps, hidden, notes)


def _loops(steps: Sequence[Step], spans: Mapping[int, int]) -> list[list[int]]:
    """Return the positions of the visits to each loop's first line, per run of the loop."""
    runs: list[list[int]] = []
    active: dict[int, dict[int, list[int]]] = {}  # activation -> first line -> visits
    for position, step in enumerate(steps):
        if not step.starts_line:
            continue
        loops = active.setdefault(step.activation, {})
        for first in list(loops):
            if not first <= step.line <= spans.get(first, step.line):
                del loops[first]
        if step.line in spans or step.function in COMPREHENSION_FRAMES:
            if step.line not in loops:
                loops[step.line] = []
                runs.append(loops[step.line])
            loops[step.line].append(position)
    return runs


def _fold_calls(steps: Sequence[Step], keep: Keep) -> list[Step]:
    calls: dict[str, list[int]] = {}  # function -> activations in order
    parents: dict[int, int] = {}
    for step in steps:
        if step.activation and step.activation not in parents:
            parents[step.activation] = step.parent
            calls.setdefault(step.function, []).append(step.activation)
    dropped: dict[int, str] = {}  # activation -> function
    settled: set[int] = set()
    for function, activations in calls.items():
        if len(activations) > keep.first_calls + keep.last_calls + 1:
            middle = activations[keep.first_calls : len(activations) - keep.last_calls]
            dropped |= dict.fromkeys(middle, function)
            settled |= set(activations)
    for activation, parent in parents.items():  # parents come before their children
        if parent in dropped and activation not in settled:
            dropped[activation] = dropped[parent]
    hidden: set[int] = set()
    notes: dict[int, str] = {}
    gap: dict[str, set[int]] = {}
    start = -1
    for position, step in enumerate([*steps, Step("")]):
        dropped_from = dropped.get(step.activation)
        if dropped_from is not None and not step.pinned:
            hidden.add(position)
            start = position if start < 0 else start
            gap.setdefault(dropped_from, set()).add(step.activation)
        elif start >= 0:
            notes[start] = "... inside " + ", ".join(
                f"{len(group)} other call{'s' if len(group) > 1 else ''} of {name}"
                for name, group in gap.items()
            )
            start, gap = -1, {}
    return _without(steps, hidden, notes)


def _without(steps: Sequence[Step], hidden: set[int], notes: Mapping[int, str]) -> list[Step]:
    shown = []
    for position, step in enumerate(steps):
        if position in notes:
            shown.append(Step(notes[position], indent=step.indent))
        if position not in hidden or step.pinned:
            shown.append(step)
    return shown
