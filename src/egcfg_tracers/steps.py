"""A trace as steps for a reader: one per executed line, with what the line did after it.

An event tells what held *before* its line ran; a step tells what the line changed, so the next
event of the same activation completes it. Knows nothing about budgets.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from attrs import define, field

from egcfg.interfaces.tracer import EventKind, RaisedValue, Trace, TraceEvent, Value
from egcfg.sandbox.types import Outcome
from egcfg_tracers.comprehensions import NAMES
from egcfg_tracers.program_text import ProgramText
from egcfg_tracers.values import clean

__all__ = [
    "CLOSED",
    "Step",
    "assignments",
    "ending",
    "failing_event",
    "is_definition",
    "missing",
    "opening",
    "steps_of",
]

CLOSED = "GeneratorExit"
"""How a generator that nobody wants any more is ended: no failure."""

_INDENT = "  "
_RAISES = "!!"
_MAX_INDENT = 8
_DEFINITIONS = ("<function ", "<class ", "<module")
_IMPORTING = ("import ", "from ")
_DEFINING = ("def ", "class ", "async def ", "@", *_IMPORTING)
_ENDINGS = {
    Outcome.TIMEOUT: "stopped: time limit",
    Outcome.MEMORY: "stopped: memory limit",
    Outcome.OUTPUT: "stopped: output limit",
    Outcome.KILLED: "stopped: killed",
    Outcome.SANDBOX_ERROR: "not run: the sandbox failed",
}


@define
class Step:
    """One line of text about a run.

    Attributes:
        label: what happened, unless a line ran.
        activation: which call of a function it belongs to.
        parent: the activation that this one was called from; 0: none.
        function: name of the code.
        line: line of the program.
        source: text of the line, if it starts to run here.
        starts_line: whether `line` starts to run here; else it goes on, or this is no line.
        inline: whether it is an iteration of a comprehension in the line that is told above it.
        indent: nesting of calls.
        effects: assignments that the line made.
        opcodes: instructions that the line executed.
        outcome: value or exception that the line ended with.
        pinned: whether it is always shown.
        silent: whether it is never shown, as it only defines functions or imports modules.
    """

    label: str = ""
    activation: int = 0
    parent: int = 0
    function: str = ""
    line: int = 0
    source: str = ""
    starts_line: bool = False
    inline: bool = False
    indent: int = 0
    effects: list[str] = field(factory=list)
    opcodes: list[str] = field(factory=list)
    outcome: str = ""
    pinned: bool = False
    silent: bool = False

    @property
    def fails(self) -> bool:
        """Whether an exception was raised here."""
        return self.outcome.startswith(_RAISES)

    def text(self, *, short: bool = False) -> str:
        """Return the step as one line; `short`: without the line's source."""
        source = "" if short else self.source
        if self.inline and self.effects:
            told = f"{_INDENT * min(self.indent, _MAX_INDENT)}{', '.join(self.effects)}"
            return f"{told} {self.outcome}".rstrip()
        label = self.label or f"L{self.line} {source}".rstrip()
        parts = [_INDENT * min(self.indent, _MAX_INDENT) + label]
        if self.opcodes:
            parts.append(f"[{'; '.join(self.opcodes)}]")
        if self.effects and not self._says(source):
            parts.append(f"-> {', '.join(self.effects)}")
        if self.outcome:
            parts.append(self.outcome)
        return " ".join(parts)

    def _says(self, source: str) -> bool:
        """Whether the source of the line tells what it has changed: one name, bound to a value."""
        name, _, value = source.partition(" = ")
        return name.isidentifier() and self.effects == [f"{name}={value}"]


def assignments(variables: Mapping[str, Value]) -> list[str]:
    """Return ``name=value`` for each variable that is bound, or what has changed in it."""
    told: list[str] = []
    for name, held in variables.items():
        if held.type:
            told += held.changes or (f"{name}={held.text}",)
    return told


def _not_in_call(variables: Mapping[str, Value], call: str) -> list[str]:
    """Return ``name=value`` for each argument whose value a call does not tell in these words."""
    try:
        tree = ast.parse(call, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return assignments(variables)
    told = {}
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
        told = dict(zip(variables, tree.args, strict=False))
        told |= {keyword.arg: keyword.value for keyword in tree.keywords if keyword.arg}
    untold = {
        name: value
        for name, value in variables.items()
        if name not in told or ast.get_source_segment(call, told[name]) != value.text
    }
    return assignments(untold)


def is_definition(value: Value) -> bool:
    """Whether a value is a function, a class or a module: no state of the program."""
    return value.text.startswith(_DEFINITIONS)


def opening(trace: Trace) -> str:
    """Return what was run, as the first line of a text."""
    if trace.call is not None:
        return clean(trace.call, 200)
    return f"run with input {clean(repr(trace.stdin), 100)}" if trace.stdin else "run"


def missing(trace: Trace) -> list[str]:
    """Return what a text has to say about what it cannot show."""
    lines = []
    if trace.coarse:
        lines.append("(not all changes deep inside large values are shown)")
    if trace.lost:
        lines.append("(tracing was lost; what came after is not shown)")
    return lines


def ending(trace: Trace) -> list[str]:
    """Return how the run ended, as the last lines of a text."""
    printed = [f"printed {clean(repr(trace.stdout), 200)}"] if trace.stdout else []
    lines = printed + missing(trace)
    if trace.outcome in _ENDINGS:
        why = f" ({clean(trace.detail)})" if trace.outcome is Outcome.KILLED else ""
        lines.append(_ENDINGS[trace.outcome] + why)
    elif trace.raised is not None:
        lines.append(f"raised {raised_text(trace.raised.type, trace.raised.message)}")
    elif trace.result is not None:
        lines.append(f"result {trace.result.text}")
    elif not trace.stdout:
        lines.append("finished")
    return lines


def raised_text(kind: str, message: str) -> str:
    """Return an exception as a traceback's last line has it, on one line and bounded."""
    return clean(f"{kind}: {message}" if message else kind)


def failing_event(trace: Trace) -> TraceEvent | None:
    """Return the event at which the exception that ended the run was raised, if it was seen."""
    if trace.raised is None:
        return None
    origins = [
        event
        for event in trace.events
        if event.kind is EventKind.EXCEPTION and event.raised is not None and event.raised.first
    ]
    for event in reversed(origins):
        if event.raised is not None and event.raised.type == trace.raised.type:
            return event
    return None


def steps_of(trace: Trace, text: ProgramText, *, opcodes: bool = False) -> list[Step]:
    """Return the steps of `trace` in order of time, the opening line first, without the ending."""
    return _Builder(trace, text, opcodes=opcodes).build()


class _Builder:
    def __init__(self, trace: Trace, text: ProgramText, *, opcodes: bool) -> None:
        self._trace = trace
        self._text = text
        self._show_opcodes = opcodes
        self._base = 1 if trace.call is None else 2
        self._failing = failing_event(trace)
        self._opening = Step(opening(trace), pinned=True)
        self._steps: list[Step] = []
        self._open: dict[int, Step] = {}  # by activation: the step of the line that runs
        self._lines: dict[int, int] = {}  # by activation: the line that runs
        self._stack: dict[int, int] = {}  # by depth: the latest activation
        self._parents: dict[int, int] = {}
        self._class_bodies = text.class_bodies(trace.events)
        self._comprehensions: set[int] = set()  # activations

    def build(self) -> list[Step]:
        if self._trace.call is None:
            self._steps.append(self._opening)
        expected = 0
        for event in self._trace.events:
            if event.index > expected:
                missing = event.index - expected
                self._steps.append(Step(f"... {missing} events not recorded", pinned=True))
            expected = event.index + 1
            self._add(event)
        if self._opening not in self._steps:
            self._steps.insert(0, self._opening)
        if self._trace.outcome not in (Outcome.OK, Outcome.EXCEPTION) and self._trace.events:
            self._pin_last(self._trace.events[-1])
        return [step for step in self._steps if not step.silent]

    def _add(self, event: TraceEvent) -> None:
        if event.kind in (EventKind.CALL, EventKind.RESUME):
            self._enter(event)
            return
        effects = assignments(event.delta) + assignments(event.globals)
        if event.function in NAMES and event.kind in (EventKind.LINE, EventKind.YIELD):
            self._add_iteration(event, effects)
            return
        if effects:
            step = self._at(event)
            step.effects += effects
            if event.activation not in self._class_bodies and not self._imports(event, step.line):
                defines = not event.globals and all(map(is_definition, event.delta.values()))
                step.silent = step.silent and defines
        match event.kind:
            case EventKind.LINE if event.full is not None:
                self._steps.append(Step("... later events not recorded, until", pinned=True))
                self._open[event.activation] = self._new_line(event)
            case EventKind.LINE if self._goes_on(event):
                pass
            case EventKind.LINE:
                self._open[event.activation] = self._new_line(event)
            case EventKind.OPCODE if self._show_opcodes and event.opcode is not None:
                name = f"{event.opcode.name} {event.opcode.argrepr}".strip()
                self._at(event).opcodes.append(name)
            case EventKind.RETURN if event.value is not None:
                self._leave(event, event.value)
            case EventKind.YIELD if event.value is not None:
                self._at(event).outcome = f"=> yields {event.value.text}"
            case EventKind.EXCEPTION if event.raised is not None:
                self._note_exception(event, event.raised)
            case EventKind.UNWIND if event.raised is not None and event.raised.type == CLOSED:
                self._hide_closing(event)
            case EventKind.UNWIND if event.depth > 2 and event.raised is not None:
                if event.function not in NAMES:
                    self._new(event, f"{event.function} left by {event.raised.type}")
            case _:
                pass

    def _add_iteration(self, event: TraceEvent, effects: list[str]) -> None:
        """Tell one iteration of a comprehension, or the element of one that has been told."""
        step = self._open.get(event.activation)
        if event.kind is EventKind.LINE or effects or step is None:
            self._parents.setdefault(event.activation, self._stack.get(event.depth - 1, 0))
            step = self._open[event.activation] = self._new(event)
            step.starts_line = True
            step.inline = self._is_inline(event)
            step.effects = effects
        elif self._steps[-1] is not step:
            step = self._open[event.activation] = self._new(event)
        self._stack[event.depth] = event.activation
        if event.value is not None:
            step.outcome = f"=> {event.value.text}"

    def _is_inline(self, event: TraceEvent) -> bool:
        """Whether a comprehension is in the line that its function is at."""
        around = event.activation
        while around == event.activation or around in self._comprehensions:
            inner, around = around, self._parents.get(around, 0)
            if around >= inner:  # a program that writes its own trace; it would never end
                return False
        self._comprehensions.add(event.activation)
        step = self._open.get(around)
        return step is not None and step.line == self._text.start(event.line)

    def _goes_on(self, event: TraceEvent) -> bool:
        """Whether a line is another one of the statement that runs already."""
        step, last = self._open.get(event.activation), self._lines.get(event.activation)
        self._lines[event.activation] = event.line
        return (
            step is not None
            and last != event.line
            and step.line == self._line_of(event)
            and bool(step.line)
        )

    def _line_of(self, event: TraceEvent) -> int:
        return event.line if event.function == "<lambda>" else self._text.start(event.line)

    def _enter(self, event: TraceEvent) -> None:
        self._parents.setdefault(event.activation, self._stack.get(event.depth - 1, 0))
        self._stack[event.depth] = event.activation
        if event.depth == 1:
            return
        if event.activation in self._class_bodies or event.function in NAMES:
            return  # a comprehension belongs to the line that it is written in
        effects = assignments(event.delta) + assignments(event.globals)
        if self._is_opening(event):
            self._opening.effects = _not_in_call(event.delta, self._opening.label)
            self._opening.activation = event.activation
            self._open[event.activation] = self._opening
        else:
            word = "call" if event.kind is EventKind.CALL else "resume"
            self._new(event, f"{word} {event.function}").effects = effects

    def _is_opening(self, event: TraceEvent) -> bool:
        """Whether `event` enters the function that the opening line calls."""
        return (
            event.depth == 2
            and not self._opening.activation
            and bool(self._steps)
            and self._steps[-1] is self._opening
            and self._opening.label.startswith(f"{event.function}(")
        )

    def _leave(self, event: TraceEvent, value: Value) -> None:
        if event.depth == 1:
            if self._trace.call is not None:
                self._steps.append(self._opening)
        elif event.function in NAMES or event.activation in self._class_bodies:
            pass
        elif not self._is_result(event, value):
            self._at(event).outcome = f"=> {value.text}"

    def _is_result(self, event: TraceEvent, value: Value) -> bool:
        """Whether the end of the text tells the value that the called function returns."""
        result = self._trace.result
        is_called = event.activation == self._opening.activation and event.depth == 2
        return is_called and result is not None and result.text == value.text

    def _at(self, event: TraceEvent) -> Step:
        """Return the step to write behind: the running line's, or a new one after a nested call."""
        step = self._open.get(event.activation)
        if step is not None and self._steps[-1] is step:
            return step
        line = step.line if step else event.line
        again = self._open[event.activation] = self._new(event)
        again.line = line
        again.silent = self._defines(event, line)
        return again

    def _new_line(self, event: TraceEvent) -> Step:
        step = self._new(event)
        step.starts_line = True
        lambda_ = event.function == "<lambda>"
        step.source = (self._text.line if lambda_ else self._text.statement)(step.line)
        # Line 0 is the one of a program that has none.
        step.silent = self._defines(event, event.line) or step.source == "try:" or not event.line
        return step

    def _defines(self, event: TraceEvent, line: int) -> bool:
        """Whether `line` is one that only makes a function or class, or imports, for the module."""
        if event.activation in self._class_bodies:
            return True
        return event.depth == 1 and self._text.line(line).startswith(_DEFINING)

    def _imports(self, event: TraceEvent, line: int) -> bool:
        """Whether `line` makes names of the module that are none of its state."""
        return event.depth == 1 and self._text.line(line).startswith(_IMPORTING)

    def _new(self, event: TraceEvent, label: str = "") -> Step:
        step = Step(
            label,
            activation=event.activation,
            parent=self._parents.get(event.activation, 0),
            function=event.function,
            line=self._line_of(event),
            indent=max(event.depth - self._base, 0),
        )
        self._steps.append(step)
        return step

    def _note_exception(self, event: TraceEvent, raised: RaisedValue) -> None:
        if raised.type == CLOSED:
            self._hide_closing(event)
        if not raised.first or raised.type == CLOSED:
            return
        step = self._open.get(event.activation)
        if step is None or self._steps[-1] is not step:
            step = self._open[event.activation] = self._new_line(event)
            self._lines[event.activation] = event.line
        step.silent = False
        step.outcome = f"{_RAISES} {raised_text(raised.type, raised.message)}"
        if event is self._failing:
            step.pinned = True
            for before in self._steps[-2:]:
                before.pinned |= before.inline and not before.outcome  # the failing iteration
            self._add_locals(event.full or {}, step)

    def _hide_closing(self, event: TraceEvent) -> None:
        """Hide that a generator was resumed for no more than to be closed.

        From 3.13 on, a line is told before or after the exception that closes it.
        """
        for step in reversed(self._steps):
            if step.activation != event.activation or step.effects or step.outcome:
                return
            step.silent = True
            if step.label:
                return

    def _add_locals(self, variables: Mapping[str, Value], step: Step) -> None:
        known = assignments(variables)
        if known:
            shown = f"where {', '.join(known)}"
            self._steps.append(Step(shown, indent=step.indent + 1, pinned=True))

    def _pin_last(self, last: TraceEvent) -> None:
        """Keep the line that a killed program was at, and what it held."""
        self._steps[-1].pinned = True
        self._steps[-1].silent = False
        if last.full is not None:
            self._add_locals(last.full, self._steps[-1])
