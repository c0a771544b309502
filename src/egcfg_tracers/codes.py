"""Code objects and frames of a watched program, as the records of its events need them.

Runs inside the watched program's process: standard library only.
"""

from __future__ import annotations

import builtins
import dis
import opcode
import types
from collections.abc import Sequence
from typing import Any

from egcfg_tracers import comprehensions, journal, values

__all__ = ["ITERATES", "PROGRAM_FILE", "Code", "is_program", "program_frame", "program_stack"]

# Functions look builtins up here, so a program that patches `builtins` does not reach us.
globals()["__builtins__"] = dict(vars(builtins))

PROGRAM_FILE = "program.py"
MAX_ARGUMENT = 40  # characters of an instruction's argument
MAX_NUMBER = 0xFFFF

_Kind = journal.Kind
_ROW, _FIELD = journal.ROW, values.FIELD


def _numbers(*names: str) -> frozenset[int]:
    return frozenset(opcode.opmap[name] for name in names if name in opcode.opmap)


_RETURNS = _numbers("RETURN_VALUE", "RETURN_CONST")
_YIELDS = _numbers("YIELD_VALUE")
_HIDES = _numbers("LOAD_FAST_AND_CLEAR")  # begins a comprehension without a frame of its own
_STORES_GLOBAL = _numbers("STORE_GLOBAL")
_STORES_ATTRIBUTE = _numbers("STORE_ATTR")
_RESUMES = _numbers("RESUME")  # from 3.13 on, a yield is reported at the instruction after it
ITERATES = _numbers("FOR_ITER", "SEND", "END_ASYNC_FOR", "END_SEND")
"""Instructions at which the end of an iterator is the end of a loop."""


class Code:
    """A code object of the program.

    Attributes:
        code: the code object.
        number: by which records name it; 0 where the numbers are used up.
        bytecode: its instructions, as the compiler made them.
        inner: offsets that belong to comprehensions, as far as these have no frames of their own.
        hidden: variables of such comprehensions.
        stores_attributes: whether it sets attributes of anything.
        stored_globals: the globals that it binds.
    """

    __slots__ = (
        "_global_names",
        "bytecode",
        "code",
        "hidden",
        "inner",
        "number",
        "stored_globals",
        "stores_attributes",
    )

    def __init__(
        self,
        code: types.CodeType,
        number: int,
        known: Sequence[comprehensions.Comprehension],
    ) -> None:
        self.code = code  # keeps its id from being used again
        self.number = _bounded(number)
        self.bytecode = code.co_code
        operations = self.bytecode[::2]
        self.inner: frozenset[int] = frozenset()
        self.hidden: frozenset[str] = frozenset()
        if known and any(number in operations for number in _HIDES):
            self.inner = _inner_offsets(code, known)
            self.hidden = frozenset(
                at.argval for at in dis.get_instructions(code) if at.opcode in _HIDES
            )
        self.stores_attributes = any(number in operations for number in _STORES_ATTRIBUTE)
        self.stored_globals: tuple[str, ...] = ()
        if any(number in operations for number in _STORES_GLOBAL):
            self.stored_globals = tuple(
                {
                    at.argval: None
                    for at in dis.get_instructions(code)
                    if at.opcode in _STORES_GLOBAL
                }
            )
        self._global_names: tuple[int, tuple[str, ...]] = -1, ()

    def global_names(self, namespace: dict[str, Any]) -> tuple[str, ...]:
        """Return the globals that the code names and that may change while it runs."""
        size, names = self._global_names
        if size != len(namespace):
            used = [name for name in self.code.co_names if name in namespace]
            names = (
                *self.stored_globals,
                *(
                    name
                    for name in used
                    if name not in self.stored_globals
                    and values.may_change(namespace[name], self.stores_attributes)
                ),
            )
            self._global_names = len(namespace), names
        return names

    def locals_of(self, frame: types.FrameType, traceback: Any) -> dict[str, Any]:
        """Return the variables of a frame of this code, as `iterated` has them where it does."""
        return {**frame.f_locals, **self.iterated(frame, traceback)}

    def iterated(self, frame: types.FrameType, traceback: Any) -> dict[str, Any]:
        """Return the variables of the comprehensions that an exception has come through.

        Args:
            frame: the innermost frame of this code.
            traceback: what is below it.
        """
        found: dict[str, Any] = {}
        if frame.f_lasti in self.inner:
            held = frame.f_locals
            found = {name: held[name] for name in sorted(self.hidden) if name in held}
        while traceback is not None:
            code = traceback.tb_frame.f_code
            if code.co_filename == PROGRAM_FILE and code.co_name in comprehensions.NAMES:
                held, own = traceback.tb_frame.f_locals, {*code.co_varnames, *code.co_cellvars}
                found |= {name: held[name] for name in held if name in own and name[:1] != "."}
            traceback = traceback.tb_next
        return found

    @property
    def has_short_offsets(self) -> bool:
        """Whether an offset always fits into a record of one word."""
        return len(self.bytecode) < 2 * journal.SHORT_LIMIT

    def text(self, *, with_rows: bool) -> str:
        """Return the name and, if wanted, a row per instruction."""
        rows = [values.clean(self.code.co_name)]
        if with_rows:
            line = self.code.co_firstlineno
            for at in dis.get_instructions(self.code):
                if at.positions is not None and _inserted(*at.positions):
                    continue
                line = at.positions.lineno or line if at.positions else line
                shown = at.argrepr
                if not shown.isprintable() or len(shown) > MAX_ARGUMENT or " at 0x" in shown:
                    code = type(at.argval) is types.CodeType
                    shown = "<code>" if code else values.clean(shown, MAX_ARGUMENT)
                argument = "" if at.arg is None else at.arg
                rows.append(
                    f"{at.offset}{_FIELD}{line}{_FIELD}{at.opname}{_FIELD}{argument}{_FIELD}{shown}"
                )
        return _ROW.join(rows)

    def exit_kind(self, offset: int) -> int:
        """Return how a frame whose last instruction is at `offset` is left."""
        number = self.bytecode[offset]
        if number in _RETURNS:
            return _Kind.RETURN
        if number in _YIELDS or (number in _RESUMES and self.bytecode[offset - 2] in _YIELDS):
            return _Kind.YIELD
        return _Kind.UNWIND


def _bounded(number: int) -> int:
    return number if number <= MAX_NUMBER else 0


def _inserted(line: int | None, last: int | None, start: int | None, end: int | None) -> int | None:
    """Return the mark of an instruction that has been inserted; None for the program's own."""
    marks = (comprehensions.INSIDE, comprehensions.OUTSIDE)
    marked = start == end and line == last and start in marks
    return start if marked else None


def _inner_offsets(
    code: types.CodeType, known: Sequence[comprehensions.Comprehension]
) -> frozenset[int]:
    offsets = set()
    for number, (line, last, start, end) in enumerate(code.co_positions()):
        if line is None or last is None or start is None or end is None:
            continue
        if _inserted(line, last, start, end) == comprehensions.INSIDE or any(
            found.start <= (line, start)
            and (last, end) <= found.end
            and not (found.outer[0] <= (line, start) and (last, end) <= found.outer[1])
            for found in known
        ):
            offsets.add(2 * number)
    return frozenset(offsets)


def is_program(code: types.CodeType) -> bool:
    """Whether a code object is one of the program's functions, classes or its module."""
    return code.co_filename == PROGRAM_FILE and code.co_name not in _UNWATCHED


# From 3.14 on, annotations are computed in functions that nobody wrote.
_UNWATCHED = comprehensions.NAMES | {"__annotate__"}


def program_frame(frame: types.FrameType | None) -> types.FrameType | None:
    """Return the innermost frame of the program from `frame` outwards."""
    while frame is not None and not is_program(frame.f_code):
        frame = frame.f_back
    return frame


def program_stack(frame: types.FrameType | None) -> list[types.FrameType]:
    """Return the program's frames from `frame` outwards."""
    frames = []
    frame = program_frame(frame)
    while frame is not None:
        frames.append(frame)
        frame = program_frame(frame.f_back)
    return frames
