"""One call of a function of a watched program: what happens in its frame, written as events.

Runs inside the watched program's process: standard library only.
"""

from __future__ import annotations

import builtins
import gc
import inspect
import types
from typing import TYPE_CHECKING, Any

from egcfg_tracers import journal, values
from egcfg_tracers.codes import ITERATES, Code, is_program
from egcfg_tracers.variables import Variables, snapshot

if TYPE_CHECKING:
    from egcfg_tracers.engine import Instrument

__all__ = ["WATCHING", "Activation", "bounded", "raised_row"]

# Functions look builtins up here, so a program that patches `builtins` does not reach us.
globals()["__builtins__"] = dict(vars(builtins))

WATCHING = 0
"""The engine's mode in which every event is recorded."""

_describe = values.describe
_Kind, _Has = journal.Kind, journal.Has
_LINE = _Kind.LINE
_SECTION, _ROW, _FIELD = journal.SECTION, journal.ROW, values.FIELD
_CUT = journal.Flag.CUT
_place_of = journal.place_of


class Activation:
    """One call of a function of the program: its frame's trace function, and what it has shown.

    Attributes:
        names: globals that the function names and that may change.
        runs: of the comprehensions in it, by number: place and activation of the latest run.
    """

    __slots__ = (
        "_iterations",
        "_journal",
        "_opcode_word",
        "_place",
        "callback",
        "changes",
        "code",
        "depth",
        "engine",
        "names",
        "number",
        "raised",
        "raised_at",
        "runs",
        "variables",
    )

    def __init__(self, engine: Instrument, number: int, code: Code, depth: int) -> None:
        self.engine = engine
        self.number = number
        self.code = code
        self.raised = ""
        self.raised_at = -1  # offset of the instruction that an exception has just come from
        self.names: tuple[str, ...] = ()
        self.runs: dict[int, tuple[int, int]] = {}
        self.variables = Variables(engine.effort)
        plain = code.code.co_flags & inspect.CO_OPTIMIZED  # a function's names are plain strings
        self.changes = self.variables.changes if plain else self.variables.changes_of_any
        self.callback = self.on_event  # made once, as every event returns it
        self._iterations = engine.iterations
        self._journal = engine.journal
        self._opcode_word = 1 | number << 32
        self.move(depth)

    def move(self, depth: int) -> None:
        """Note how many frames of the program are on the stack now."""
        self.depth = depth
        self._place = _place_of(depth, self.code.number)

    def look(self, frame: types.FrameType) -> tuple[str, str]:
        """Return rows for the variables that have changed, and for the globals."""
        if frame.f_lasti in self.code.inner:
            return "", ""  # it would see a comprehension's variables
        delta = self.changes(frame.f_locals)
        if not self.names:
            return delta, ""
        return delta, self.engine.globals_of(frame).look(self.names, frame.f_globals)

    def record(self, kind: int, line: int | None, has: int = 0, text: str = "") -> None:
        """Write an event."""
        self._journal.add(kind, self._place, self.number, bounded(line), has, text)

    def on_event(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        """Trace function of the frame."""
        if event == "opcode":
            # As `Journal.add_line` does it; a call would take as long as all of this.
            journal = self._journal
            word = self._opcode_word | frame.f_lasti << 16
            at = journal.at
            if at < journal.op_stop:
                journal.at = at + 1
                journal.words[at] = word
            else:
                frame.f_trace_opcodes = False
                journal.flag(_CUT)
        elif event == "line":
            if self.engine.mode == WATCHING:
                inner = self.code.inner
                if inner and frame.f_lasti in inner:
                    return self.callback  # an iteration, which its hooks record
                if self._iterations.begun is not None:
                    self._iterations.write_begun()
                self.raised_at = -1
                text, outer = self.changes(frame.f_locals), ""
                if self.names:
                    outer = self.engine.globals_of(frame).look(self.names, frame.f_globals)
                line = bounded(frame.f_lineno)
                if outer:
                    text = _SECTION.join((text, "", "", "", outer))
                    self._journal.add(_LINE, self._place, self.number, line, _Has.GLOBALS, text)
                elif text:
                    self._journal.add(_LINE, self._place, self.number, line, 0, text)
                else:
                    self._journal.add_line(self._place, self.number, line)
            else:
                frame.f_trace_lines = frame.f_trace_opcodes = False
        elif event == "return":
            self._on_exit(frame, arg)
        elif event == "exception":
            self._on_exception(frame, *arg)
        return self.callback

    def _on_exit(self, frame: types.FrameType, value: Any) -> None:
        kind = self.code.exit_kind(frame.f_lasti)
        if frame.f_lasti == self.raised_at:
            kind = _Kind.UNWIND
        if self.engine.mode != WATCHING and (kind == _Kind.YIELD or self.depth > 2):
            return
        if self.engine.iterations.begun is not None:
            self.engine.iterations.write_begun()
        has = 0
        full = shown = raised = ""
        if kind == _Kind.UNWIND:
            has, raised = _Has.RAISED, self.raised
        else:
            if kind == _Kind.YIELD and self.code.code.co_flags & inspect.CO_ASYNC_GENERATOR:
                value = _unwrapped(value)
            has, shown = _Has.VALUE, _describe(value)
        delta, outer = self.look(frame)
        if outer:
            has |= _Has.GLOBALS
        if self.depth <= 2 and kind != _Kind.YIELD:
            has |= _Has.FULL
            full = self.variables.all()
        text = _SECTION.join((delta, full, shown, raised, outer))
        self.record(kind, frame.f_lineno, has, text)

    def _on_exception(
        self, frame: types.FrameType, kind: type, error: BaseException, traceback: Any
    ) -> None:
        self.raised_at = frame.f_lasti
        ends_loop = kind is StopIteration or kind is StopAsyncIteration
        if ends_loop and self.code.bytecode[frame.f_lasti] in ITERATES:
            return
        self.raised = raised_row(error)
        inner = traceback.tb_next if traceback is not None else None
        if self.engine.mode != WATCHING:
            if self.depth > 2 or self.engine.quiet_depth < 2:
                return
            if self.depth == self.engine.quiet_depth:
                self.engine.record_origin(error, inner, self.depth)
        if self.engine.iterations.begun is not None:
            self.engine.iterations.write_begun()
        below = inner
        while inner is not None and not is_program(inner.tb_frame.f_code):
            inner = inner.tb_next
        delta, outer = self.look(frame)
        has, full = _Has.RAISED, ""
        if outer:
            has |= _Has.GLOBALS
        if inner is None:
            has |= _Has.FIRST | _Has.FULL
            iterated = snapshot(self.code.iterated(frame, below))
            full = _ROW.join(filter(None, (self.variables.all(), iterated)))
        text = _SECTION.join((delta, full, "", self.raised, outer))
        self.record(_Kind.EXCEPTION, frame.f_lineno, has, text)


def bounded(line: int | None) -> int:
    """Return a line number as a record can hold it; those of code made by hand may be any."""
    return line if line is not None and 0 <= line < 1 << 32 else 0


def raised_row(error: Any) -> str:
    """Return class and message of an exception as records have them."""
    return f"{values.type_name(error)}{_FIELD}{values.message_of(error)}"


def _unwrapped(value: Any) -> Any:
    """Return what an asynchronous generator yields, out of the interpreter's own wrapper."""
    if values.type_name(value) == "async_generator_wrapped_value":
        return gc.get_referents(value)[0]
    return value
