"""Records what comprehensions do: the variables of each iteration, and the element it gave.

Each run of a comprehension is an activation of its own, one level below the function that it is
written in, or that takes a generator expression's next element. An iteration is a `LINE` event,
or a `YIELD` where it gave an element; both at the comprehension's first line. One that has begun
is written when anything else happens, so that most iterations are a single record.

Runs inside the watched program's process: standard library only.
"""

from __future__ import annotations

import builtins
import sys
import types
from typing import TYPE_CHECKING, Any

from egcfg_tracers import comprehensions, journal, values
from egcfg_tracers.codes import PROGRAM_FILE

if TYPE_CHECKING:
    from egcfg_tracers.activation import Activation
    from egcfg_tracers.engine import Instrument

__all__ = ["Iterations"]

# Functions look builtins up here, so a program that patches `builtins` does not reach us.
globals()["__builtins__"] = dict(vars(builtins))

_getframe = sys._getframe
_ATOMS, _describe = values.ATOMS, values.describe
_FIELD, _ROW, _SECTION = values.FIELD, journal.ROW, journal.SECTION
_Kind, _Has = journal.Kind, journal.Has
_MAX_KEYS = 1_000


class Iterations:
    """What the hooks in a program's comprehensions record.

    Attributes:
        known: the program's comprehensions.
        begun: an iteration that has begun and is not written yet: number of its comprehension,
            activation around it, rows for its variables.
    """

    __slots__ = ("_engine", "_keys", "_kind", "begun", "known")

    def __init__(self, engine: Instrument, kind: type[Activation]) -> None:
        self._engine = engine
        self._kind = kind
        self._keys: dict[tuple[int, int], str] = {}
        self.known: list[comprehensions.Comprehension] = []
        self.begun: tuple[int, Activation, str] | None = None

    def compile(self, source: bytes, filename: str) -> types.CodeType:
        """Compile a program with hooks in its comprehensions."""
        hooks = comprehensions.Hooks(self._begin, self._bound, self._element, self._key)
        code, self.known = comprehensions.compile_watched(source, filename, hooks)
        return code

    def write_begun(self) -> None:
        """Write the iteration that has begun: something else is about to be written."""
        begun, self.begun = self.begun, None
        if begun is not None:
            number, activation, rows = begun
            run = activation.runs.get(number) or self._start_run(activation, number)
            self._engine.journal.add(_Kind.LINE, *run, self.known[number].line, 0, rows)

    # The hooks. Not watched closely, a program is to lose as little time here as can be; and any
    # call of a function of ours, made from here, is an event to the interpreter.

    def _begin(self, iterable: Any, number: int) -> Any:
        if not self._engine.mode:
            activation = self._around(_getframe(1))
            if activation is not None:
                self._start_run(activation, number)
        return iterable

    def _bound(self, number: int, clause: int, *held: Any) -> bool:
        if not self._engine.mode:
            if self.begun is not None:
                self.write_begun()
            activation = self._around(_getframe(1))
            if activation is not None:
                rows = ""
                for name, value in zip(self.known[number].variables[clause], held, strict=True):
                    if name[:2] != "__":
                        atom = _ATOMS.get(id(type(value)))
                        text = atom[0] + atom[1](value) if atom else _describe(value)
                        rows = (
                            f"{rows}{_ROW}{name}{_FIELD}{text}" if rows else f"{name}{_FIELD}{text}"
                        )
                self.begun = number, activation, rows
        return True

    def _element(self, value: Any, number: int) -> Any:
        if not self._engine.mode:
            begun, rows = self.begun, ""
            activation: Activation | None
            if begun is not None and begun[0] == number:
                self.begun = None
                _, activation, rows = begun
            else:
                if begun is not None:
                    self.write_begun()
                activation = self._around(_getframe(1))
            if activation is not None:
                atom = _ATOMS.get(id(type(value)))
                shown = atom[0] + atom[1](value) if atom else _describe(value)
                if self._keys:
                    key = self._keys.pop((id(_getframe(1)), number), None)
                    if key is not None:
                        shown = f"dict{_FIELD}{key}: {shown.partition(_FIELD)[2]}"
                run = activation.runs.get(number) or self._start_run(activation, number)
                text = f"{rows}{_SECTION}{_SECTION}{shown}{_SECTION}"
                line = self.known[number].line
                self._engine.journal.add(_Kind.YIELD, run[0], run[1], line, _Has.VALUE, text)
        return value

    def _key(self, value: Any, number: int) -> Any:
        if not self._engine.mode:
            if len(self._keys) > _MAX_KEYS:  # of entries that were never finished
                self._keys.clear()
            self._keys[id(_getframe(1)), number] = _describe(value).partition(_FIELD)[2]
        return value

    def _around(self, frame: types.FrameType | None) -> Activation | None:
        """Return the activation of the program's innermost function from `frame` outwards."""
        while frame is not None:
            code = frame.f_code
            if code.co_filename == PROGRAM_FILE and code.co_name not in comprehensions.NAMES:
                watcher = frame.f_trace
                if type(watcher) is types.MethodType and type(watcher.__self__) is self._kind:
                    return watcher.__self__
                return None
            frame = frame.f_back
        return None

    def _start_run(self, activation: Activation, number: int) -> tuple[int, int]:
        """Return place and activation of a new run of a comprehension."""
        found = self.known[number]
        code = self._engine.number_of_name(found.name)
        place = journal.place_of(activation.depth + found.nesting, code)
        run = activation.runs[number] = place, self._engine.next_activation()
        return run
