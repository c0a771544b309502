"""Code objects and frames of a watched program, as the records of its events need them.

Runs inside the watched program's process: standard library only.
"""

from __future__ import annotations

import builtins
import dis
import opcode
import types

from egcfg_tracers import journal, values

__all__ = ["ITERATES", "PROGRAM_FILE", "Code", "program_frame", "program_stack"]

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
_RESUMES = _numbers("RESUME")  # from 3.13 on, a yield is reported at the instruction after it
ITERATES = _numbers("FOR_ITER", "SEND", "END_ASYNC_FOR", "END_SEND")
"""Instructions at which the end of an iterator is the end of a loop."""


class Code:
    """A code object of the program.

    Attributes:
        code: the code object.
        number: by which records name it; 0 where the numbers are used up.
        bytecode: its instructions, as the compiler made them.
    """

    __slots__ = ("bytecode", "code", "number")

    def __init__(self, code: types.CodeType, number: int) -> None:
        self.code = code  # keeps its id from being used again
        self.number = number if number <= MAX_NUMBER else 0
        self.bytecode = code.co_code

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


def program_frame(frame: types.FrameType | None) -> types.FrameType | None:
    """Return the innermost frame of the program from `frame` outwards."""
    while frame is not None and frame.f_code.co_filename != PROGRAM_FILE:
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
