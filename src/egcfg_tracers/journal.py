"""Records of events in memory that outlives the process which writes them.

The memory holds eight 8-byte words, then four parts (`Layout`): the code table, the *head* (the
first events), the *ring* (the latest ones), and two slots for samples of a program that is no
longer watched event by event. A word is stored at once, after the bytes that it announces, so a
reader finds whole records however the process died. The ring announces a record twice: before, what
it is about to overwrite; after, that it is there.

Runs inside the watched program's process: standard library only, knows nothing about tracing. The
reader, `egcfg_tracers.decoding`, takes the formats from here.
"""

from __future__ import annotations

import builtins
import struct
import threading
from typing import NamedTuple

__all__ = [
    "CODE",
    "KINDS",
    "MAGIC",
    "RECORD",
    "ROW",
    "SECTION",
    "Flag",
    "Has",
    "Journal",
    "Kind",
    "Layout",
    "Word",
]

# Functions look builtins up here, so a program that patches `builtins` does not reach us.
globals()["__builtins__"] = dict(vars(builtins))

MAGIC = 0x31304543415254  # "TRACE01"
KINDS = ("call", "resume", "line", "op", "yield", "return", "exception", "unwind")
RECORD = struct.Struct("<HHBBHIIII")
"""Bytes of this record, bytes back to the previous one (ring), kind, `Has` bits, depth, index,
activation, code number, line (an opcode's offset); then the payload."""
CODE = struct.Struct("<II")
"""Bytes of this entry, code number; then its text."""
SECTION, ROW = "\x1d", "\x1e"
"""Separate a payload's sections (delta, full, value, raised) and the rows of a section."""

_WORD = 8
_MAX_RECORD = 30_000  # so that two of them are counted in sixteen bits


class Kind:
    """What a record tells: an index into `KINDS`."""

    CALL, RESUME, LINE, OPCODE, YIELD, RETURN, EXCEPTION, UNWIND = range(len(KINDS))


class Word:
    """Indices of the words at the start of the memory."""

    MAGIC, FLAGS, CODES, HEAD, RESERVED, LAST, SAMPLE = range(7)


class Flag:
    """Bits of `Word.FLAGS`."""

    CUT, LOST = 1, 2


class Has:
    """Bits that say which optional sections of a record's payload mean something."""

    FULL, VALUE, RAISED, FIRST = 1, 2, 4, 8


class Layout(NamedTuple):
    """Where the parts of a memory begin, in bytes; each ends where the next begins."""

    codes: int
    head: int
    ring: int
    first_sample: int
    second_sample: int
    end: int

    @classmethod
    def of(cls, size: int) -> Layout:
        """Return the layout of a memory of `size` bytes (at least 4,096)."""
        unit = size // 256 * _WORD  # a thirty-second part, in whole words
        codes = 8 * _WORD
        end = size // _WORD * _WORD
        first = end - 4 * unit
        return cls(codes, codes + 4 * unit, first - 8 * unit, first, first + 2 * unit, end)


# Looked up for every event, so as directly as possible.
_pack_into, _RECORD_BYTES = RECORD.pack_into, RECORD.size
_HEAD, _OPCODE = Word.HEAD, Kind.OPCODE


class Journal:
    """Writes records: into the head until its budget is spent, then into the ring."""

    def __init__(self, memory: memoryview, head_events: int, opcodes: int) -> None:
        self.seen = 0
        self._memory = memory
        self._words = memory.cast("Q")
        self._layout = layout = Layout.of(memory.nbytes)
        self._lock = threading.Lock()  # threads of the program write, too
        self._code_next = layout.codes
        self._head_left = head_events
        self._opcodes_left = opcodes
        self._head_next = layout.head
        self._head_end = layout.ring
        self._ring_size = layout.first_sample - layout.ring
        self._max_record = min(self._ring_size // 4, layout.ring - layout.head, _MAX_RECORD)
        self._ring_next = 0  # counts on when the ring starts over
        self._ring_last = 0
        self._samples = 0
        self._words[Word.MAGIC] = MAGIC

    @property
    def in_head(self) -> bool:
        """Whether the next record goes into the head."""
        return self._head_left > 0

    @property
    def wants_opcodes(self) -> bool:
        """Whether there is room for instructions."""
        return self._opcodes_left > 0

    def flag(self, bit: int) -> None:
        """Set a bit of `Flag`."""
        self._words[Word.FLAGS] |= bit

    def add_code(self, number: int, text: str) -> None:
        """Enter a code object into the table; without room it stays unknown to the reader."""
        payload = _encoded(text)
        end = self._code_next + CODE.size + len(payload)
        if end > self._layout.head:
            self.flag(Flag.CUT)
            return
        CODE.pack_into(self._memory, self._code_next, end - self._code_next, number)
        self._memory[self._code_next + CODE.size : end] = payload
        self._code_next = end
        self._words[Word.CODES] = end

    def add(
        self,
        kind: int,
        depth: int,
        activation: int,
        code: int,
        line: int,
        has: int = 0,
        text: str = "",
    ) -> None:
        """Write one event; `text` is its payload."""
        payload = _encoded(text) if text else b""
        size = _RECORD_BYTES + len(payload)
        if size > self._max_record:
            payload, size, has = b"", _RECORD_BYTES, 0
            self.flag(Flag.CUT)
        memory = self._memory
        with self._lock:
            index = self.seen
            self.seen = index + 1
            start = self._head_next
            if self._head_left > 0 and start + size <= self._head_end:
                _pack_into(memory, start, size, 0, kind, has, depth, index, activation, code, line)
                if payload:
                    memory[start + _RECORD_BYTES : start + size] = payload
                self._head_left -= 1
                self._head_next = self._words[_HEAD] = start + size
                return
            self._head_left = 0
            start, back = self._reserve(size)
            _pack_into(memory, start, size, back, kind, has, depth, index, activation, code, line)
            memory[start + _RECORD_BYTES : start + size] = payload
            self._words[Word.LAST] = self._ring_last + 1

    def add_opcode(self, depth: int, activation: int, code: int, offset: int) -> bool:
        """Write one executed instruction into the head; return whether there was room."""
        with self._lock:
            start = self._head_next
            end = start + _RECORD_BYTES
            if self._opcodes_left <= 0 or self._head_left <= 0 or end > self._head_end:
                self._opcodes_left = 0
                self.flag(Flag.CUT)
                return False
            self._opcodes_left -= 1
            index = self.seen
            _pack_into(
                self._memory,
                start,
                _RECORD_BYTES,
                0,
                _OPCODE,
                0,
                depth,
                index,
                activation,
                code,
                offset,
            )
            self.seen = index + 1
            self._head_next = self._words[_HEAD] = end
            return True

    def sample(self, frames: list[tuple[int, int, int, int, str]]) -> None:
        """Replace the sample by `(depth, activation, code, line, text)` of some frames.

        The slots take turns, so that a reader always finds one whole.
        """
        layout = self._layout
        slots = (layout.first_sample, layout.second_sample, layout.end)
        self._samples += 1
        turn = self._samples & 1
        start = position = slots[turn]
        for depth, activation, code, line, text in frames:
            payload = _encoded(text)
            size = _RECORD_BYTES + len(payload)
            if position + size > slots[turn + 1]:
                break
            _pack_into(
                self._memory,
                position,
                size,
                0,
                Kind.LINE,
                Has.FULL,
                depth,
                self.seen,
                activation,
                code,
                line,
            )
            self._memory[position + _RECORD_BYTES : position + size] = payload
            position += size
        self._words[Word.SAMPLE] = self._samples << 32 | position - start

    def _reserve(self, size: int) -> tuple[int, int]:
        """Return where in the memory the ring's next record starts, and bytes back to the last."""
        start = self._ring_next
        if start % self._ring_size + size > self._ring_size:  # records never wrap
            start += self._ring_size - start % self._ring_size
        self._words[Word.RESERVED] = start + size
        back = start - self._ring_last if self._ring_next else 0
        self._ring_next = start + size
        self._ring_last = start
        return self._layout.ring + start % self._ring_size, back


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
