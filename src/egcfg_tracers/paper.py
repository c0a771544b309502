"""A trace in the layout of the paper's tool, full and minimal, without that tool's gaps.

One *phase* per stop: ``=`` once per frame (five at most), the frame's variables and their types as
dicts, and below it the event with its source line. ``LINE`` shows the state before the line,
``RETURN`` the caller's frame and the returned value, ``YIELD`` the entry and each resumption of a
generator, ``EXCEPTION`` one frame that an exception leaves. Beyond that tool, ``END`` shows what a
function's last line changed before it returned: there, that was never to be seen.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Mapping

from attrs import define, field

from egcfg.interfaces.tracer import EventKind, RaisedValue, Trace, TraceEvent, Value
from egcfg.sandbox.types import Outcome
from egcfg_tracers.final import final_state, variables_of
from egcfg_tracers.fitting import Block, fit
from egcfg_tracers.steps import CLOSED, ending
from egcfg_tracers.values import clean

__all__ = ["render_paper", "render_paper_final"]

_MAX_FRAMES = 5
_MAX_RETURN = 80
_MAX_SOURCE = 200
_LITERALS = frozenset({"NoneType", "bool", "dict", "float", "int", "list", "str", "tuple"})
_NOT_FINITE = frozenset({"nan", "inf", "-inf"})


def render_paper(trace: Trace, max_chars: int) -> str:
    """Return all phases of `trace`; whole ones are left out where `max_chars` asks for it."""
    phases = _Phases(trace).build()
    last = len(phases) - 1
    blocks = [Block(text, pinned=at in (0, last)) for at, text in enumerate(phases)]
    if trace.outcome not in (Outcome.OK, Outcome.EXCEPTION) or not phases:
        blocks += [Block(line, pinned=True) for line in ending(trace)]
    return _framed(fit(blocks, max_chars - 4, "phases"), max_chars)


def render_paper_final(trace: Trace, max_chars: int) -> str:
    """Return the variables and types of the last phase with exactly two frames, else with one."""
    state = final_state(trace)
    blocks = [Block(_state(variables_of(state)), pinned=True)] if state is not None else []
    if trace.outcome not in (Outcome.OK, Outcome.EXCEPTION) or state is None:
        blocks += [Block(line, pinned=True) for line in ending(trace)]
    return _framed(fit(blocks, max_chars - 4), max_chars)


def _framed(text: str, max_chars: int) -> str:
    return f" \n{text}\n "[: max(max_chars, 0)]


@define
class _Frame:
    """What is known of one activation."""

    line: int
    variables: dict[str, Value] = field(factory=dict)

    def update(self, event: TraceEvent) -> None:
        self.line = event.line
        for name, value in event.delta.items():
            if value.type:
                self.variables[name] = value
            else:  # deleted
                self.variables.pop(name, None)
        if event.full is not None:
            kept = {name: event.full[name] for name in self.variables if name in event.full}
            self.variables = {**kept, **event.full}


class _Phases:
    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._lines = trace.source.splitlines()
        self._frames: dict[int, _Frame] = {}
        self._stack: dict[int, int] = {}  # by depth: the latest activation
        self._generators = {
            event.activation
            for event in trace.events
            if event.kind in (EventKind.RESUME, EventKind.YIELD)
        }
        self._phases: list[str] = []
        self._last_entered = 0  # activation, if the last phase is its entry

    def build(self) -> list[str]:
        for event in self._trace.events:
            frame = self._frames.setdefault(event.activation, _Frame(event.line))
            self._stack[event.depth] = event.activation
            frame.update(event)
            if event.depth == 1 and self._trace.call is not None:
                if event.kind is EventKind.RETURN:
                    self._add(1, frame, "LINE", self._call)
            else:
                self._add_event(event, frame)
        raised = self._trace.raised
        if self._trace.call is not None and raised is not None and self._phases:
            module = self._frames.get(self._stack.get(1, 0), _Frame(0))
            triple = _triple(RaisedValue(type=raised.type, message=raised.message), 0)
            self._add(1, module, "EXCEPTION", self._call, triple)
        return self._phases

    @property
    def _call(self) -> str:
        return clean(self._trace.call or "", _MAX_SOURCE)

    def _add_event(self, event: TraceEvent, frame: _Frame) -> None:
        source = self._source(event.line)
        entered, self._last_entered = self._last_entered, 0
        match event.kind:
            case EventKind.CALL | EventKind.RESUME if event.depth > 1:
                self._last_entered = event.activation
                generator = event.activation in self._generators
                self._add(event.depth, frame, "YIELD" if generator else "CALL", source)
            case EventKind.LINE:
                self._add(event.depth, frame, "LINE", source)
            case EventKind.RETURN | EventKind.YIELD:
                if event.delta:
                    self._add(event.depth, frame, "END", source)
                if event.depth > 1 and event.value is not None:
                    self._add_return(event.depth - 1, event.value)
            case EventKind.EXCEPTION if event.raised is not None and event.raised.type == CLOSED:
                if entered and entered == event.activation:  # only resumed to be closed
                    self._phases.pop()
            case EventKind.UNWIND if event.raised is not None and event.raised.type != CLOSED:
                triple = _triple(event.raised, event.line)
                self._add(event.depth, frame, "EXCEPTION", source, triple)
            case _:
                pass

    def _add_return(self, depth: int, value: Value) -> None:
        caller = self._frames.get(self._stack.get(depth, 0), _Frame(0))
        at_call = depth == 1 and self._trace.call is not None
        source = self._call if at_call else self._source(caller.line)
        shown = f"Return Value: {clean(value.text, _MAX_RETURN)}"
        self._add(depth, caller, "RETURN", source, shown)

    def _add(self, depth: int, frame: _Frame, event: str, source: str, more: str = "") -> None:
        bars = "=" * min(_MAX_FRAMES, max(depth, 1))
        phase = f"{bars} {_state(frame.variables)}\n{event}: {source}"
        self._phases.append(f"{phase}\n{more}" if more else phase)

    def _source(self, number: int) -> str:
        if not 0 < number <= len(self._lines):
            return ""
        return clean(self._lines[number - 1].expandtabs(4).rstrip(), _MAX_SOURCE)


def _triple(raised: RaisedValue, line: int) -> str:
    where = f"line {line}" if line else "the call"
    return f"Exception: ({raised.type}, {clean(raised.message)!r}, {where})"


def _state(variables: Mapping[str, Value]) -> str:
    shown = ", ".join(f"{name!r}: {_literal(value)}" for name, value in variables.items())
    types = ", ".join(f"{name!r}: {_type(value)!r}" for name, value in variables.items())
    return f"{{{shown}}} , {{{types}}}"


def _type(value: Value) -> str:
    return "Function" if value.type == "function" else value.type


def _literal(value: Value) -> str:
    """Return a value as it comes out of JSON; what JSON cannot hold becomes a string."""
    if value.type == "function":
        return repr(value.text.replace("<function ", "<Function ", 1))
    if value.type == "float" and value.text in _NOT_FINITE:
        return value.text
    if value.type in _LITERALS and "..." not in value.text:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the text may be odd
                return repr(json.loads(json.dumps(ast.literal_eval(value.text))))
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            pass  # a set inside, or cut short
    return repr(value.text)
