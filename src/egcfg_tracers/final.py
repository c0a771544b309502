"""A trace as its last state only: the variables of the called function when it ended."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from egcfg.interfaces.tracer import EventKind, Trace, TraceEvent, Value
from egcfg.sandbox.types import Outcome
from egcfg_tracers.fitting import Block, fit
from egcfg_tracers.program_text import ProgramText
from egcfg_tracers.steps import (
    assignments,
    ending,
    failing_event,
    is_definition,
    opening,
)
from egcfg_tracers.values import clean

__all__ = ["final_state", "render_final", "variables_of", "when_seen"]


def final_state(trace: Trace, text: ProgramText, depth: int) -> TraceEvent | None:
    """Return the last event that tells the whole state of a frame at `depth`.

    The called function is at 2, the module at 1. Of a function that was killed before anything else
    was seen of it, the entry has at least the arguments.
    """
    classes = text.class_bodies(trace.events)
    known = [
        event
        for event in trace.events
        if event.depth == depth and _tells_all(event) and event.activation not in classes
    ]
    # A generator that is thrown away after the call has ended is at depth 2 as well.
    of_called = [event for event in known if depth == 2 and event.function == _called(trace)]
    candidates = of_called or known
    return candidates[-1] if candidates else None


def _called(trace: Trace) -> str:
    """Return the function that the call is a call of, if it is no more than that."""
    try:
        tree = ast.parse(trace.call or "", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    return tree.func.id if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) else ""


def _tells_all(event: TraceEvent) -> bool:
    return event.full is not None or (event.kind is EventKind.CALL and event.depth > 1)


def variables_of(event: TraceEvent) -> Mapping[str, Value]:
    """Return all the variables that `event` knows of."""
    return event.delta if event.full is None else event.full


def when_seen(trace: Trace, state: TraceEvent) -> str:
    """Return when a state was, unless it is that of a function that has ended; else nothing."""
    if trace.outcome in (Outcome.OK, Outcome.EXCEPTION) and state.full is not None:
        return ""
    function = clean(state.function)
    match state.kind:
        case EventKind.CALL | EventKind.RESUME:
            return f"when {function} began"
        case EventKind.LINE:
            return f"when last seen, in L{state.line} of {function}"
        case _:
            return f"when {function} ended"


def render_final(trace: Trace, max_chars: int) -> str:
    """Return what ran, the last state of its frame, and how it ended, in few lines."""
    text = ProgramText(trace.source)
    lines = [opening(trace)]
    failing = failing_event(trace)
    state = final_state(trace, text, 1 if trace.call is None else 2)
    if state is not None and (failing is None or variables_of(state) != variables_of(failing)):
        lines += _state(trace, state)
    if failing is None and len(lines) == 1:
        # A program that only defines functions and calls them: what the last one did.
        ended = final_state(trace, text, 2)
        if ended is not None and ended.kind is EventKind.RETURN and ended.value is not None:
            held = _told(variables_of(ended))
            where = f" with {', '.join(held)}" if held else ""
            lines.append(f"last call: {ended.function}{where} => {ended.value.text}")
    if failing is not None:
        held = _told(variables_of(failing))
        where = f" in {failing.function}" if failing.depth > 1 else ""
        line = text.start(failing.line)
        lines.append(f"L{line} {text.statement(line)}{where}")
        lines += [f"where {', '.join(held)}"] if held else []
    lines += ending(trace)
    # A program may give a function any name.
    return fit([Block(clean(line, len(line)), pinned=True) for line in lines], max_chars)


def _state(trace: Trace, state: TraceEvent) -> Sequence[str]:
    held = _told(variables_of(state))
    where = when_seen(trace, state)
    if trace.call is not None and not where and state.function != _called(trace):
        where = f"in {state.function}"
    if not held:
        return []
    return [f"{where}: {', '.join(held)}" if where else ", ".join(held)]


def _told(variables: Mapping[str, Value]) -> list[str]:
    return assignments({name: held for name, held in variables.items() if not is_definition(held)})
