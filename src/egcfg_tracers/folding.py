"""Shortens a list of steps: loops to their first and last iterations, functions to a few calls.

What takes a way that none of those takes is shown as well: an iteration or a call that executes
other lines.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from attrs import frozen

from egcfg_tracers.comprehensions import NAMES
from egcfg_tracers.steps import Step

__all__ = ["Keep", "fold"]


@frozen
class Keep:
    """How much of what repeats is kept.

    Attributes:
        first: iterations of a loop from its start.
        last: iterations of a loop from its end.
        first_calls: calls of a function from the start.
        last_calls: calls of a function from the end.
        ways: iterations, and calls, between those that execute other lines than any before.
    """

    first: int
    last: int
    first_calls: int
    last_calls: int
    ways: int


def fold(steps: Sequence[Step], loops: Mapping[int, int], keep: Keep) -> list[Step]:
    """Return `steps` without the middle of long loops and of long series of calls.

    Pinned steps stay. Each gap is told in a step of its own.

    Args:
        steps: in order of time.
        loops: the last line of each loop, by its first.
        keep: how much of them is kept.
    """
    return _fold_calls(_fold_loops(steps, loops, keep), keep)


def _fold_loops(steps: Sequence[Step], loops: Mapping[int, int], keep: Keep) -> list[Step]:
    hidden: set[int] = set()
    notes: dict[int, str] = {}
    # Outer loops first: what is hidden with them needs no note of its own.
    for visits in sorted(_visits(steps, loops), key=lambda run: run[0] - run[-1]):
        # The last visit to a statement ends the loop, in most cases.
        last = keep.last + (steps[visits[0]].function not in NAMES)
        if len(visits) - keep.first - last < 2 or visits[0] in hidden:
            continue
        ends = len(visits) - last
        ways = [_way(steps[a:b]) for a, b in zip(visits, [*visits[1:], None], strict=True)]
        shown = _shown(ways, keep.first, ends, keep.ways)
        start = keep.first
        for position in [*(n for n in range(keep.first, ends) if n in shown), ends]:
            if position > start:
                hidden.update(range(visits[start], visits[position]))
                other = sum(way not in map(ways.__getitem__, shown) for way in ways[start:position])
                by = f", {other} of them by other lines" if other else ""
                s = "s" if position - start > 1 else ""
                notes[visits[start]] = f"... {position - start} more iteration{s}{by}"
            start = position + 1
    return _without(steps, hidden, notes)


def _way(steps: Sequence[Step]) -> Hashable:
    """Return what tells apart iterations, or calls, that do not execute the same."""
    return frozenset(
        (step.function, step.line, step.label, step.fails or (step.inline and bool(step.outcome)))
        for step in steps
        if not step.pinned
    )


def _shown(ways: Sequence[Hashable], first: int, end: int, limit: int) -> set[int]:
    """Return the positions that are shown: both ends, and up to `limit` between for their way."""
    shown = {*range(first), *range(end, len(ways))}
    known = {ways[position] for position in shown}
    for position in range(first, end):
        if limit and ways[position] not in known:
            known.add(ways[position])
            shown.add(position)
            limit -= 1
    return shown


def _visits(steps: Sequence[Step], loops: Mapping[int, int]) -> list[list[int]]:
    """Return the positions of the visits to each loop's first line, per run of the loop."""
    runs: list[list[int]] = []
    active: dict[int, dict[int, list[int]]] = {}  # activation -> first line -> visits
    for position, step in enumerate(steps):
        if not step.starts_line:
            continue
        open_loops = active.setdefault(step.activation, {})
        for first in list(open_loops):
            if not first <= step.line <= loops.get(first, step.line):
                del open_loops[first]
        if step.line in loops or step.function in NAMES:
            if step.line not in open_loops:
                open_loops[step.line] = []
                runs.append(open_loops[step.line])
            open_loops[step.line].append(position)
    return runs


def _fold_calls(steps: Sequence[Step], keep: Keep) -> list[Step]:
    calls: dict[str, list[int]] = {}  # function -> activations in order
    parents: dict[int, int] = {}
    own: dict[int, list[Step]] = {}
    for step in steps:
        own.setdefault(step.activation, []).append(step)
        if step.activation and step.activation not in parents:
            parents[step.activation] = step.parent
            calls.setdefault(step.function, []).append(step.activation)
    dropped: dict[int, str] = {}  # activation -> function
    settled: set[int] = set()
    for function, activations in calls.items():
        if len(activations) > keep.first_calls + keep.last_calls + 1:
            ways = [_way(own[activation]) for activation in activations]
            ends = len(activations) - keep.last_calls
            shown = _shown(ways, keep.first_calls, ends, keep.ways)
            middle = (a for n, a in enumerate(activations) if n not in shown)
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
