"""A trace as its last state only: the variables of the called function when it ended."""

from __future__ import annotations

from collections.abc import Mapping

from egcfg.interfaces.tracer import EventKind, Trace, TraceEvent, Value
from egcfg_tracers.fitting import Block, fit
from egcfg_tracers.steps import (
    assignments,
    ending,
    failing_event,
    is_definition,
    opening,
    source_line,
)

__all__ = ["final_state", "render_final", "variables_of"]


def final_state(trace: Trace, depths: tuple[int, ...] = (2, 1)) -> TraceEvent | None:
    """Return the last event that tells the whole state of a frame at one of `depths`.

    The first depth that has one counts: the called function is at 2, the module at 1. Of a function
    that was killed before anything else was seen of it, the entry has at least the arguments.
    """
    called = (trace.call or "").partition("(")[0].strip()
    for depth in depths:
        known = [event for event in trace.events if event.depth == depth and _tells_all(event)]
        # A generator that is thrown away after the call has ended is at depth 2 as well.
        of_called = [event for event in known if depth == 2 and event.function == called]
        if known:
            return (of_called or known)[-1]
    return None


def _tells_all(event: TraceEvent) -> bool:
    return event.full is not None or (event.kind is EventKind.CALL and event.depth > 1)


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
    if state is not None:
        variables = variables_of(state)
        told = {name: held for name, held in variables.items() if not is_definition(held)}
        lines += [", ".join(assignments(told))] if told else []
    lines += ending(trace)
    return fit([Block(line, pinned=True) for line in lines], max_chars)
