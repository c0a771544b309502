"""A trace in the layout of the paper's tool, full and minimal, without that tool's gaps.

One *phase* per stop: ``=`` once per frame (five at most), the frame's variables and their types as
dicts, and below it the event with its source line. ``LINE`` shows the state before the line,
``RETURN`` the caller's frame and the returned value, ``YIELD`` the entry and each resumption of a
generator, ``EXCEPTION`` one frame that an exception leaves. Beyond that tool, ``END`` shows what a
function's last line changed before it returned: there, that was never to be seen; ``ITERATION`` is
one of a comprehension, and ``Changed`` names what the dicts do not show: changes in the part of a
value that is cut, and of globals. The functions that the call expression runs before it has its own
value return at their own lines.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Mapping

from attrs import define, field

from egcfg.interfaces.tracer import EventKind, RaisedValue, Trace, TraceEvent, Value
from egcfg.sandbox.types import Outcome
from egcfg_tracers.comprehensions import NAMES
from egcfg_tracers.final import final_state, variables_of, when_seen
from egcfg_tracers.fitting import Block, fit
from egcfg_tracers.program_text import ProgramText
from egcfg_tracers.steps import CLOSED, assignments, ending, missing
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
    ended = trace.outcome in (Outcome.OK, Outcome.EXCEPTION) and phases
    blocks += [Block(line, pinned=True) for line in (missing if ended else ending)(trace)]
    return _framed(fit(blocks, max_chars - 4, "phases"), max_chars)


def render_paper_final(trace: Trace, max_chars: int) -> str:
    """Return the variables and types of the last phase with exactly two frames, else with one."""
    text = ProgramText(trace.source)
    state = final_state(trace, text, 2) or final_state(trace, text, 1)
    lines = [_state(variables_of(state))] if state is not None else []
    if state is not None and (when := when_seen(trace, state)):
        lines.append(f"(as it was {when})")
    if trace.outcome is not Outcome.OK or state is None:
        lines += ending(trace)
    blocks = [Block(line, pinned=True) for line in lines]
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
        self._text = ProgramText(trace.source)
        self._frames: dict[int, _Frame] = {}
        self._stack: dict[int, int] = {}  # by depth: the latest activation
        self._raised: dict[int, TraceEvent] = {}  # by activation: the latest exception in it
        self._class_bodies = self._text.class_bodies(trace.events)
        self._lines: dict[int, int] = {}  # by activation: the line that runs
        self._generators = {
            event.activation
            for event in trace.events
            if event.kind in (EventKind.RESUME, EventKind.YIELD)
        }
        self._phases: list[str] = []
        self._last_entered = 0  # activation, if no more than its entry and a line came last
        self._entry = 0  # the phase of that

    def build(self) -> list[str]:
        expected = 0
        for number, event in enumerate(self._trace.events):
            if event.index > expected:
                self._phases.append(f"... {event.index - expected} events not recorded")
            expected = event.index + 1
            frame = self._frames.setdefault(event.activation, _Frame(event.line))
            self._stack[event.depth] = event.activation
            frame.update(event)
            if event.activation in self._class_bodies:
                continue  # it makes a class, which the next line of its module shows
            if event.depth > 1 or self._trace.call is None:
                self._add_event(event, frame, is_last=number == len(self._trace.events) - 1)
            elif event.kind is EventKind.RETURN:
                self._add(1, frame, "LINE", self._call)
        raised, result = self._trace.raised, self._trace.result
        if self._trace.call is not None and raised is not None and self._phases:
            triple = _triple(RaisedValue(type=raised.type, message=raised.message), 0)
            self._add(1, self._module, "EXCEPTION", self._call, triple)
        elif result is not None:
            self._add(1, self._module, "RETURN", self._call, _returned(result))
        return self._phases

    @property
    def _call(self) -> str:
        return clean(self._trace.call or "", _MAX_SOURCE)

    @property
    def _module(self) -> _Frame:
        events = self._trace.events
        found = (event.activation for event in events if event.function == "<module>")
        return self._frames.get(next(found, 0), _Frame(0))

    def _add_event(self, event: TraceEvent, frame: _Frame, *, is_last: bool) -> None:
        source = self._source(event.line)
        entered, self._last_entered = self._last_entered, 0
        changed = _changed(event)
        match event.kind:
            case EventKind.LINE | EventKind.YIELD if event.function in NAMES:
                more = "" if event.value is None else _returned(event.value, "Element")
                self._add(event.depth, frame, "ITERATION", source, more)
            case EventKind.CALL | EventKind.RESUME if event.depth > 1:
                if event.function not in NAMES:
                    self._last_entered, self._entry = event.activation, len(self._phases)
                    generator = event.activation in self._generators
                    self._add(event.depth, frame, "YIELD" if generator else "CALL", source, changed)
            case EventKind.LINE if self._goes_on(event):
                pass
            case EventKind.LINE:
                if entered == event.activation and len(self._phases) == self._entry + 1:
                    self._last_entered = entered  # from 3.13 on, closing is a line of its own
                self._add(event.depth, frame, "LINE", source, changed)
            case EventKind.RETURN | EventKind.YIELD if event.function not in NAMES:
                if event.delta or changed:
                    self._add(event.depth, frame, "END", source, changed)
                told = is_last and event.depth == 2 and event.value == self._trace.result
                if event.depth > 1 and event.value is not None and not told:
                    self._add_return(event, event.value)  # else that of the call tells it
            case EventKind.EXCEPTION:
                self._raised[event.activation] = event
                closed = event.raised is not None and event.raised.type == CLOSED
                if closed and entered == event.activation:  # only resumed to be closed
                    del self._phases[self._entry :]
            case EventKind.UNWIND if event.raised is not None and event.raised.type != CLOSED:
                line = self._raised.get(event.activation, event).line
                source = self._source(line)
                triple = _triple(event.raised, self._text.start(line))
                self._add(event.depth, frame, "EXCEPTION", source, triple)
            case _:
                pass

    def _goes_on(self, event: TraceEvent) -> bool:
        """Whether a line is another one of the statement that runs already."""
        last = self._lines.get(event.activation, event.line)
        self._lines[event.activation] = event.line
        return last != event.line and self._text.start(last) == self._text.start(event.line)

    def _source(self, line: int) -> str:
        return self._text.indented(self._text.start(line), _MAX_SOURCE)

    def _add_return(self, event: TraceEvent, value: Value) -> None:
        caller = self._frames.get(self._stack.get(event.depth - 1, 0))
        if caller is None or (event.depth == 2 and self._trace.call is not None):
            source = self._source(event.line)
            self._add(
                event.depth, self._frames[event.activation], "RETURN", source, _returned(value)
            )
        else:
            source = self._source(caller.line)
            self._add(event.depth - 1, caller, "RETURN", source, _returned(value))

    def _add(self, depth: int, frame: _Frame, event: str, source: str, more: str = "") -> None:
        bars = "=" * min(_MAX_FRAMES, max(depth, 1))
        phase = f"{bars} {_state(frame.variables)}\n{event}: {source}"
        self._phases.append(f"{phase}\n{more}" if more else phase)


def _returned(value: Value, name: str = "Return Value") -> str:
    return f"{name}: {clean(value.text, _MAX_RETURN)}"


def _changed(event: TraceEvent) -> str:
    """Return what an event tells that the dicts of its frame do not show."""
    places = [place for held in event.delta.values() for place in held.changes]
    told = [*places, *assignments(event.globals)]
    return f"Changed: {', '.join(told)}" if told else ""


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
