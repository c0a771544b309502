"""Watches a Python program from inside its own process, event by event, through `sys.settrace`.

Goes into the sandbox together with `egcfg_tracers.variables` (what changed),
`egcfg_tracers.iterations` (comprehensions) and `egcfg_tracers.journal` (memory that survives),
joined to one file by `egcfg_tracers.bundle`, so it may import what is joined there and the standard
library. Only frames of the program itself are
watched. How closely depends on the level and on what is spent:

- *head* and *ring*: every call, line, return and exception (at level ``op``, every instruction
  while there is room), with the local variables that changed;
- *quiet*, after `watched_events`: only how the outer frames end. A timer takes a sample of the
  stack now and then, for the case that the program is killed;
- *off*, when a quiet program goes on: nothing but the samples, at full speed. What the outermost
  frame holds in the end is seen all the same, as that frame is kept; after a module that went on
  for long (a slow import does), its call is watched quietly again.

Tracing is lost when the program takes the trace function away or its stack overflows inside the
trace function; `stop` notices and says so. Known gap: a program that takes the trace function away
and puts it back is not noticed.
"""

from __future__ import annotations

import builtins
import inspect
import itertools
import os
import signal
import sys
import threading
import types
from typing import Any

from egcfg_tracers import forms, journal, values
from egcfg_tracers.activation import WATCHING, Activation, bounded, raised_row
from egcfg_tracers.codes import (
    PROGRAM_FILE,
    Code,
    is_program,
    program_frame,
    program_stack,
)
from egcfg_tracers.comprehensions import NAMES
from egcfg_tracers.iterations import Iterations
from egcfg_tracers.variables import Globals, snapshot

# Functions look builtins up here, so a program that patches `builtins` does not reach us.
globals()["__builtins__"] = dict(vars(builtins))

__all__ = ["Instrument"]

HEADROOM = 60  # levels of the stack for the engine's own calls
QUIET_RECORDS = 2_000  # exits of functions that a quiet program may still record
TICK_SECONDS = 0.05  # processor time between two samples
TICKS_UNTIL_OFF = 2
MAX_DRAINED = 200  # values that a called generator is asked for

_QUIET, _OFF = 1, 2
_LEVELS = ("final", "line", "op")

# The originals, whatever the program makes of `sys` later.
_settrace, _gettrace = sys.settrace, sys.gettrace
_describe = values.describe
_Kind, _Has = journal.Kind, journal.Has
_LINE = _Kind.LINE
_SECTION, _ROW, _FIELD = journal.SECTION, journal.ROW, values.FIELD
_CUT = journal.Flag.CUT
_place_of = journal.place_of
_traceback_of = BaseException.__dict__["__traceback__"].__get__


class Instrument:
    """One watched run of one program.

    Args:
        options: `level`: ``final``, ``line`` or ``op``; `head_events`: events that are kept from
            the start; `watched_events`: events until the program is left alone; `op_events`:
            instructions that are kept.
        memory: where the events go; shared with whoever reads them.
    """

    def __init__(self, options: dict[str, Any], memory: memoryview) -> None:
        level = options["level"]
        if level not in _LEVELS:
            raise ValueError(f"level must be one of {', '.join(_LEVELS)}, not {level!r}")
        self.final = level == "final"
        opcodes = options["op_events"] if level == "op" else 0
        head_events = options["head_events"]
        stages = [(QUIET_RECORDS, self._on_quiet_spent)]
        if not self.final:
            stages.insert(0, (options["watched_events"] - head_events, self._on_watched))
        self.journal = journal.Journal(memory, head_events, opcodes, stages)
        self.effort = forms.Effort(lambda: self.journal.flag(journal.Flag.COARSE))
        self.iterations = Iterations(self, Activation)
        self._names: dict[str, int] = {}  # of code that is no function's: its number
        self._codes: dict[int, Code] = {}
        self._globals: dict[int, Globals] = {}  # by the id of a module's dict
        self._activations = 0
        self._result: str | None = None  # text of the call's value
        self._ticks = 0
        self._outermost: types.FrameType | None = None  # of a program that was left alone
        self.quiet_depth = 2  # functions called deeper are not watched in a quiet program
        self.mode = _QUIET if self.final else WATCHING
        self.callback = self._on_call  # one object, so that `stop` can recognise it

    def compile(self, source: bytes, filename: str) -> types.CodeType:
        """Compile the content of a program's file so that it can be watched; it computes the same.

        Raises:
            SyntaxError: and whatever else the function `compile` raises.
        """
        values.keep_addresses_of(source.decode("utf-8", "replace"))
        if self.final:
            return compile(source, filename, "exec", dont_inherit=True)
        return self.iterations.compile(source, filename)

    def start(self) -> None:
        """Watch this thread and those that it starts, from the next call on."""
        sys.setrecursionlimit(sys.getrecursionlimit() + HEADROOM)
        os.register_at_fork(after_in_child=self._leave)
        signal.signal(signal.SIGVTALRM, self._on_tick)
        signal.setitimer(signal.ITIMER_VIRTUAL, TICK_SECONDS, TICK_SECONDS)
        threading.settrace(self.callback)
        if self.journal.wants_opcodes:  # 3.12 looks for this at `settrace` only
            sys._getframe().f_trace_opcodes = True
        _settrace(self.callback)

    def resume(self) -> None:
        """Watch the call quietly that comes now, if the module before it was left alone."""
        if self._outermost is None:
            return
        self._record_end(self._outermost, None)
        self._outermost = None
        self._ticks = 0
        self.mode = _QUIET
        threading.settrace(self.callback)
        _settrace(self.callback)

    def finish(self, value: Any) -> Any:
        """Note the value of the call, and return it.

        A generator is asked for its values first, as its body has not run before; a coroutine is
        run. Either may raise anything.
        """
        kind = type(value)
        if kind is types.CoroutineType:
            import asyncio

            value = asyncio.run(value)
            shown = _describe(value)
        elif kind is types.GeneratorType:
            items = list(itertools.islice(value, MAX_DRAINED))
            shown = _yielding(value, items, value.gi_frame is not None)
            value = iter(items)
        elif kind is types.AsyncGeneratorType:
            import asyncio

            items = asyncio.run(_drained(value))
            shown = _yielding(value, items, value.ag_frame is not None)
            value = iter(items)
        else:
            shown = _describe(value)
        self._result = shown
        return value

    def stop(self, error: BaseException | None) -> None:
        """End; note what of an uncaught `error` was not seen as it happened."""
        self._write_begun()
        lost = self.mode != _OFF and _gettrace() is not self.callback
        unseen = lost or self.mode == _OFF
        self._turn_off()
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if lost:
            self.journal.flag(journal.Flag.LOST)
        if error is not None and unseen:
            self.record_origin(error, _traceback_of(error))
        if self._outermost is not None:
            self._record_end(self._outermost, error)
            self._outermost = None
        if self._result is not None:
            place = _place_of(1, self.number_of_name(journal.CALL))
            text = _SECTION.join(("", "", self._result, ""))
            self.journal.add(_Kind.RETURN, place, self.next_activation(), 0, _Has.VALUE, text)

    def _on_watched(self) -> None:
        self.mode = _QUIET
        self._ticks = 0
        self.journal.flag(journal.Flag.CUT)

    def _on_quiet_spent(self) -> None:
        self.quiet_depth = 1
        self.journal.flag(journal.Flag.CUT)

    def _on_call(self, frame: types.FrameType, _event: str, _arg: Any) -> Any:
        """Trace function of every new or resumed frame."""
        code = frame.f_code
        if code.co_filename != PROGRAM_FILE or not is_program(code):
            return None
        if self.mode != WATCHING and self._is_left_alone(frame):
            return None
        if self.iterations.begun is not None:
            self.iterations.write_begun()
        activation = self.activation_of(frame)
        kind = _Kind.RESUME
        if activation is None:
            depth = self._depth(frame)
            if self.mode != WATCHING and depth > self.quiet_depth:
                return None
            kind = _Kind.CALL
            activation = Activation(self, self.next_activation(), self._code(code), depth)
            # 3.13 needs the trace function in place before opcode events can be asked for.
            frame.f_trace = activation.callback
            if self.journal.wants_opcodes and activation.code.has_short_offsets:
                frame.f_trace_opcodes = True
        elif self.mode == WATCHING:
            activation.move(self._depth(frame))
        activation.raised_at = -1
        if self.mode == _QUIET:
            frame.f_trace_lines = False
            if not self.final:
                return activation.callback
        if code.co_flags & inspect.CO_OPTIMIZED:  # of a function; a module's are its own
            activation.names = activation.code.global_names(frame.f_globals)
        has, text, outer = 0, *activation.look(frame)
        if outer and activation.depth > 2:  # else it has changed before this call
            has, text = _Has.GLOBALS, _SECTION.join((text, "", "", "", outer))
        activation.record(kind, frame.f_lineno, has, text)
        return activation.callback

    def _is_left_alone(self, frame: types.FrameType) -> bool:
        """Whether a quiet program's new frame is not worth a closer look; decided fast."""
        if self.mode == _OFF:
            _settrace(None)  # in a thread that the program has started
            return True
        back = frame.f_back
        while back is not None and back.f_code.co_name in NAMES:
            back = back.f_back
        return back is not None and is_program(back.f_code) and back.f_code.co_name != "<module>"

    def _depth(self, frame: types.FrameType) -> int:
        """Return how many frames of the program are on the stack; the module counts as one."""
        outer = program_frame(frame.f_back)
        if outer is None:
            return 1 if frame.f_code.co_name == "<module>" else 2
        activation = self.activation_of(outer)
        # A frame without an activation was left alone because it is deep already.
        return activation.depth + 1 if activation is not None else len(program_stack(frame))

    def _code(self, code: types.CodeType) -> Code:
        known = self._codes.get(id(code))
        if known is None:
            number = len(self._codes) + len(self._names) + 1
            known = self._codes[id(code)] = Code(code, number, self.iterations.known)
            self.journal.add_code(known.number, known.text(with_rows=self.journal.wants_opcodes))
        return known

    def number_of_name(self, name: str) -> int:
        """Return the number by which records name code that is no function of the program."""
        number = self._names.get(name)
        if number is None:
            number = self._names[name] = len(self._codes) + len(self._names) + 1
            self.journal.add_code(number, name)
        return number

    def next_activation(self) -> int:
        """Return a number that no activation has yet."""
        self._activations += 1
        return self._activations

    def globals_of(self, frame: types.FrameType) -> Globals:
        """Return what is known of the globals that a frame sees."""
        namespace = frame.f_globals
        known = self._globals.get(id(namespace))
        if known is None:
            known = self._globals[id(namespace)] = Globals(self.effort)
        return known

    def activation_of(self, frame: types.FrameType | None) -> Activation | None:
        """Return the activation that watches a frame."""
        watcher = frame.f_trace if frame is not None else None
        if type(watcher) is types.MethodType and type(watcher.__self__) is Activation:
            return watcher.__self__
        return None

    def _write_begun(self) -> None:
        if self.iterations.begun is not None:
            self.iterations.write_begun()

    def _on_tick(self, _signal: int, frame: types.FrameType | None) -> None:
        """Keep the state of the stack, for the case that the program does not end by itself."""
        if self.mode == WATCHING:
            return
        stack = program_stack(frame)
        if stack:
            base = 1 if stack[-1].f_code.co_name == "<module>" else 2
            depths = range(base + len(stack) - 1, base - 1, -1)
            chosen = {depth: at for depth, at in zip(depths, stack, strict=True) if depth == 2}
            chosen[depths[0]] = stack[0]
            self.journal.sample(
                [self._frame_record(at, depth) for depth, at in sorted(chosen.items())]
            )
        self._ticks += 1
        if self._ticks >= TICKS_UNTIL_OFF and self.mode == _QUIET and stack:
            # The program's work may end later for that; what it computes is the same.
            self._outermost = stack[-1]
            self._turn_off()

    def _frame_record(
        self,
        frame: types.FrameType,
        depth: int,
        line: int | None = None,
        traceback: Any = None,
    ) -> tuple[int, int, int, str]:
        activation = self.activation_of(frame)
        number = activation.number if activation is not None else 0
        code = self._code(frame.f_code)
        text = f"{_SECTION}{snapshot(code.locals_of(frame, traceback))}"
        place = _place_of(depth, code.number)
        return place, number, bounded(line or frame.f_lineno), text

    def record_origin(self, error: Any, traceback: Any, above: int | None = None) -> None:
        """Note the program's innermost frame in `traceback` as where `error` was raised.

        `above` is the depth of the frame that the traceback starts below of; None: of none.
        """
        count = 0
        origin = None
        while traceback is not None:
            code = traceback.tb_frame.f_code
            if is_program(code):
                if above is None:
                    above = 0 if code.co_name == "<module>" else 1
                count += 1
                origin = traceback
            traceback = traceback.tb_next
        if origin is None or above is None:
            return
        at = self._frame_record(origin.tb_frame, above + count, origin.tb_lineno, origin.tb_next)
        text = f"{at[-1]}{_SECTION}{_SECTION}{raised_row(error)}"
        has = _Has.FULL | _Has.RAISED | _Has.FIRST
        self.journal.add(_Kind.EXCEPTION, *at[:-1], has, text)

    def _record_end(self, frame: types.FrameType, error: Any) -> None:
        """Note what a frame held in the end, unless `error` has not come through it."""
        kind, has, raised = _Kind.RETURN, _Has.FULL, ""
        if error is not None:
            traceback = _traceback_of(error)
            while traceback is not None and traceback.tb_frame is not frame:
                traceback = traceback.tb_next
            if traceback is None:
                return
            kind, has, raised = _Kind.UNWIND, has | _Has.RAISED, raised_row(error)
        at = self._frame_record(frame, 1 if frame.f_code.co_name == "<module>" else 2)
        self.journal.add(kind, *at[:-1], has, f"{at[-1]}{_SECTION}{_SECTION}{raised}")

    def _leave(self) -> None:
        """Stop watching in a child that the program has forked, for good."""
        self._turn_off()
        self._outermost = None

    def _turn_off(self) -> None:
        """Stop watching this process."""
        self.mode = _OFF
        threading.settrace(None)
        _settrace(None)


async def _drained(generator: Any) -> list[Any]:
    items: list[Any] = []
    async for item in generator:
        items.append(item)
        if len(items) == MAX_DRAINED:
            break
    return items


def _yielding(generator: Any, items: list[Any], goes_on: bool) -> str:
    """Return the text of a generator that was asked for its values."""
    kind, text = values.type_name(generator), _describe(items).partition(_FIELD)[2]
    more = ", not asked for more" if goes_on else ""
    return f"{kind}{_FIELD}<{kind} that yields {text}{more}>"
