"""A trace as its last state only: the variables of the called function when it ended."""

from __future__ import annotations

from collections.abc import Mapping

from egcfg.tracer import EventKind, Trace, TraceEvent, Value
from egcfg_tracers.compact import fit
from egcfg_tracers.steps import assignments, ending, failing_event, opening, source_line

__all__ = ["final_state", "render_final"]


def final_state(trace: Trace, depths: tuple[int, ...] = (2, 1)) -> TraceEvent | None:
    """Return the last event that tells the whole state of a frame at one of `depths`.

    The first depth that has one counts: the called function is at 2, the module at 1. Of a function
    that was killed before anything else was seen of it, the entry has at least the arguments.
    """
    for depth in depths:
        for event in reversed(trace.events):
            if event.depth == depth and (event.full is not None or event.kind is EventKind.CALL):
                if depth == 1 and event.full is None:
                    continue
                return event
    return None


def variables_of(event: TraceEvent) -> Mapping[str, Value]:
    """Return all the variables that `event` knows of."""
    return event.delta if event.full is None else event.full


def render_final(trace: Trace, max_chars: int) -> str:
    """Return what ran, the last state of its frame, and how it ended, in few lines."""
    lines = [opening(trace)]
    failing = failing_event(trace)
    if failing is not None:
        source = source_line(trace.source.splitlines(), failing.line)
        lines.append(f"L{failing.line} {source}")
    state = final_state(trace, (2, 1) if trace.call is not None else (1, 2))
    if state is not None and variables_of(state):
        lines.append(", ".join(assignments(variables_of(state))))
    lines += ending(trace)
    return fit([(line, True) for line in lines], max_chars)
