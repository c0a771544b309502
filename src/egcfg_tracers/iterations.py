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
from typing import TYPE_CHECKING, Any, NamedTuple

from egcfg_tracers import comprehensions, journal, values
from egcfg_tracers.codes import program_frame

if TYPE_CHECKING:
    from egcfg_tracers.engine import Activation, Instrument

__all__ = ["Iterations"]

# Functions look builtins up here, so a program that patches `builtins` does not reach us.
globals()["__builtins__"] = dict(vars(builtins))

_getframe = sys._getframe
_describe = values.describe
_FIELD, _ROW, _SECTION = values.FIELD, journal.ROW, journal.SECTION
_Kind, _Has = journal.Kind, journal.Has
_MAX_KEYS = 1_000


class _Begun(NamedTuple):
    number: int
    activation: Activation
    rows: str


class Iterations:
    """What the hooks in a program's comprehensions record.

    Attributes:
        known: the program's comprehensions.
        begun: an iteration that has begun and is not written yet.
    """

    __slots__ = ("_engine", "_keys", "begun", "known")

    def __init__(self, engine: Instrument) -> None:
        self._engine = engine
        self._keys: dict[tuple[int, int], str] = {}
        self.known: list[comprehensions.Comprehension] = []
        self.begun: _Begun | None = None

    def compile(self, source: str, filename: str) -> types.CodeType:
        """Compile a program with hooks in its comprehensions."""
        hooks = comprehensions.Hooks(self._begin, self._bound, self._element, self._key)
        code, self.known = comprehensions.compile_watched(source, filename, hooks)
        return code

    def write_begun(self) -> None:
        """Write the iteration that has begun: something else is about to be written."""
        begun, self.begun = self.begun, None
        if begun is not None:
            self._write(_Kind.LINE, begun.number, begun.activation, 0, begun.rows)

    # The hooks. Not watched closely, a program is to lose as little time here as can be.

    def _begin(self, iterable: Any, number: int) -> Any:
        if not self._engine.mode:
            activation = self._engine.activation_of(program_frame(_getframe(1)))
            if activation is not None:
                activation.runs[number] = self._engine.next_activation()
        return iterable

    def _bound(self, number: int, clause: int, *held: Any) -> bool:
        if not self._engine.mode:
            if self.begun is not None:
                self.write_begun()
            activation = self._engine.activation_of(program_frame(_getframe(1)))
            if activation is not None:
                names = self.known[number].variables[clause]
                rows = _ROW.join(
                    f"{name}{_FIELD}{_describe(value)}"
                    for name, value in zip(names, held, strict=True)
                    if name[:2] != "__"
                )
                self.begun = _Begun(number, activation, rows)
        return True

    def _element(self, value: Any, number: int) -> Any:
        if not self._engine.mode:
            begun, rows = self.begun, ""
            frame = _getframe(1)
            activation: Activation | None
            if begun is not None and begun.number == number:
                self.begun, activation, rows = None, begun.activation, begun.rows
            else:
                if begun is not None:
                    self.write_begun()
                activation = self._engine.activation_of(program_frame(frame))
            if activation is not None:
                key = self._keys.pop((id(frame), number), None)
                shown = _describe(value)
                if key is not None:
                    shown = f"dict{_FIELD}{key}: {shown.partition(_FIELD)[2]}"
                text = _SECTION.join((rows, "", shown, ""))
                self._write(_Kind.YIELD, number, activation, _Has.VALUE, text)
        return value

    def _key(self, value: Any, number: int) -> Any:
        if not self._engine.mode:
            if len(self._keys) > _MAX_KEYS:  # of entries that were never finished
                self._keys.clear()
            self._keys[id(_getframe(1)), number] = _describe(value).partition(_FIELD)[2]
        return value

    def _write(self, kind: int, number: int, activation: Activation, has: int, text: str) -> None:
        engine, found = self._engine, self.known[number]
        run = activation.runs.get(number)
        if run is None:  # its beginning was not watched, or another function's
            run = activation.runs[number] = engine.next_activation()
        place = journal.place_of(
            activation.depth + found.nesting, engine.number_of_name(found.name)
        )
        engine.journal.add(kind, place, run, found.line, has, text)
