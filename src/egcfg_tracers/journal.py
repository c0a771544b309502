"""Records of events in memory that outlives the process which writes them.

The memory is an array of 8-byte words: eight of them first (`Word`), then three parts (`Layout`):
the *head* (the first events, and all code objects), the *ring* (the latest events), and two slots
for samples of a program that is no longer watched event by event.

A record's first word tells its length, is stored at once, and last: a reader finds whole records
however the process died, and the head ends where it finds a zero. The ring announces a record
twice: before, what it is about to overwrite; after, that it is there. Most events of a program are
instructions, and lines that change no variable: in the head, each of these takes a single word.

Runs inside the watched program's process: standard library only, knows nothing about tracing. The
reader, `egcfg_tracers.decoding`, takes the formats from here.
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable
from typing import NamedTuple

__all__ = [
    "CALL",
    "HEAD_START",
    "KINDS",
    "MAGIC",
    "ROW",
    "SECTION",
    "SHORT_LIMIT",
    "Flag",
    "Has",
    "Journal",
    "Kind",
    "Layout",
    "Word",
    "place_of",
]

# Functions look builtins up here, so a program that patches `builtins` does not reach us.
globals()["__builtins__"] = dict(vars(builtins))

# A record is made of words. The first one, from its lowest bits: 16 for the number of words, 8 each
# for the kind and the `Has` bits, 16 each for the depth and the code's number. The second one: 32
# each for the activation and the line (of an instruction, its offset). In the ring and in samples
# there is a third: 32 each for the event's index and the number of words back to the record
# before. Then the payload: text as UTF-8.
#
# A record of one word, after its length: one bit that is set for a line and clear for an
# instruction, 15 for the line or half the offset, 32 for the activation.
MAGIC = 0x32304543415254  # "TRACE02"
KINDS = ("call", "resume", "line", "op", "yield", "return", "exception", "unwind")
SECTION, ROW = "\x1d", "\x1e"
"""Separate a payload's sections (delta, full, value, raised, globals) and a section's rows."""
CALL = "<call>"
"""Name of the code that returns the value of the call, in the last record of all."""
HEAD_START = 8
"""Word at which the head begins."""
SHORT_LIMIT = 1 << 15
"""Lines and half offsets below this fit into a record of one word."""

_MAX_WORDS = 3_750  # of a record, so that two of them are counted in sixteen bits
_LINE_WORD = 1 | 1 << 16


class Kind:
    """What a record tells: an index into `KINDS`; or a code object, which is no event."""

    CALL, RESUME, LINE, OPCODE, YIELD, RETURN, EXCEPTION, UNWIND = range(len(KINDS))
    CODE = len(KINDS)


class Word:
    """Indices of the words at the start of the memory."""

    MAGIC, FLAGS, RESERVED, LAST, SAMPLE = range(5)


class Flag:
    """Bits of `Word.FLAGS`."""

    CUT, LOST, COARSE = 1, 2, 4


class Has:
    """Bits that say which optional sections of a record's payload mean something."""

    FULL, VALUE, RAISED, FIRST, GLOBALS = 1, 2, 4, 8, 16


class Layout(NamedTuple):
    """Where the parts of a memory begin, in words; each ends where the next begins.

    The end of the head, from `codes` on, is kept free for code objects.
    """

    codes: int
    ring: int
    first_sample: int
    second_sample: int
    end: int

    @classmethod
    def of(cls, size: int) -> Layout:
        """Return the layout of a memory of `size` bytes (at least 4,096)."""
        unit = size // 256  # a thirty-second part, in words
        end = size // 8
        first = end - 4 * unit
        ring = first - 8 * unit
        return cls(ring - 4 * unit, ring, first, first + 2 * unit, end)


class Journal:
    """Writes records: into the head until its budget is spent, then into the ring.

    Args:
        memory: zero-filled; its length is a multiple of eight.
        head_events: events but instructions that the head takes.
        opcodes: instructions that the head takes.
        stages: budgets after the head's: events, and what to call once they have been written.

    Attributes:
        words: the memory.
        at: the word at which the head's next record starts.
        op_stop: the word before which an instruction may be written.
    """

    __slots__ = (
        "_budget",
        "_extra",
        "_layout",
        "_lock",
        "_max_words",
        "_memory",
        "_ring_last",
        "_ring_next",
        "_ring_size",
        "_samples",
        "_seen",
        "_stages",
        "_stop",
        "at",
        "op_stop",
        "words",
    )

    def __init__(
        self,
        memory: memoryview,
        head_events: int,
        opcodes: int,
        stages: list[tuple[int, Callable[[], None]]],
    ) -> None:
        self.words = memory.cast("Q")
        self._memory = memory
        self._layout = layout = Layout.of(memory.nbytes)
        self._lock = threading.Lock()  # threads of the program write, too
        self._stages = [*stages]
        self._budget = head_events
        self._extra = 0  # words of the head that are more than one for each event
        self._seen = 0  # events when the head was closed, and since
        self.at = HEAD_START
        self._stop = layout.codes
        self.op_stop = min(HEAD_START + opcodes, layout.codes) if opcodes else 0
        self._ring_size = layout.first_sample - layout.ring
        self._max_words = min(self._ring_size // 4, layout.codes - HEAD_START, _MAX_WORDS)
        self._ring_next = 0  # in words; counts on when the ring starts over
        self._ring_last = 0
        self._samples = 0
        self.words[Word.MAGIC] = MAGIC

    @property
    def seen(self) -> int:
        """Events written so far."""
        return self.at - HEAD_START - self._extra if self._stop else self._seen

    @property
    def wants_opcodes(self) -> bool:
        """Whether there is room for instructions."""
        return self.op_stop > self.at

    def flag(self, bit: int) -> None:
        """Set a bit of `Flag`."""
        self.words[Word.FLAGS] |= bit

    def add_code(self, number: int, text: str) -> None:
        """Enter a code object; without room it stays unknown to the reader."""
        payload = _encoded(text)
        size = 2 + (len(payload) + 7 >> 3)
        at = self.at
        if size > 0xFFFF or at + size > self._layout.ring:
            self.flag(Flag.CUT)
            return
        self.at = at + size
        self.op_stop = min(self.op_stop + size, self._stop)
        self._extra += size
        self._write(at, 2, payload, (number,))
        self.words[at] = size | Kind.CODE << 16

    # No other thread can come between two statements that call nothing, so each of the two methods
    # below takes its place in the head without a lock, and then fills it in its own time.

    def add_line(self, place: int, activation: int, line: int) -> None:
        """Write that a line is next which changes nothing."""
        stop = self._stop
        at = self.at
        if at >= stop or line >= SHORT_LIMIT:
            self.add(Kind.LINE, place, activation, line)
            return
        self.at = at + 1
        op_stop = self.op_stop + 1
        self.op_stop = op_stop if op_stop < stop else stop
        self.words[at] = _LINE_WORD | line << 17 | activation << 32
        self._budget -= 1
        if self._budget == 0:
            self._end_stage()

    def add(
        self, kind: int, place: int, activation: int, line: int, has: int = 0, text: str = ""
    ) -> None:
        """Write one event.

        Args:
            kind: of `Kind`.
            place: depth and code, as `place_of` returns them.
            activation: its number.
            line: of the program.
            has: bits of `Has`.
            text: payload.
        """
        payload = _encoded(text) if text else b""
        size = 2 + (len(payload) + 7 >> 3)
        if size > self._max_words:
            payload, size, has = b"", 2, 0
            self.flag(Flag.CUT)
        stop = self._stop
        at = self.at
        end = at + size
        if end <= stop:
            self.at = end
            self._extra += size - 1
            op_stop = self.op_stop + size
            self.op_stop = op_stop if op_stop < stop else stop
            words = self.words
            words[at + 1] = activation | line << 32
            if payload:
                at_byte = at + 2 << 3
                self._memory[at_byte : at_byte + len(payload)] = payload
            words[at] = size | kind << 16 | has << 24 | place
        else:
            if stop:
                self._close_head()
            self._add_to_ring(kind << 16 | has << 24 | place, activation | line << 32, payload)
        self._budget -= 1
        if self._budget == 0:
            self._end_stage()

    def sample(self, frames: list[tuple[int, int, int, str]]) -> None:
        """Replace the sample by `(place, activation, line, text)` of some frames.

        The slots take turns, so that a reader always finds one whole.
        """
        layout = self._layout
        slots = (layout.first_sample, layout.second_sample, layout.end)
        self._samples += 1
        turn = self._samples & 1
        start = at = slots[turn]
        for place, activation, line, text in frames:
            payload = _encoded(text)
            size = 3 + (len(payload) + 7 >> 3)
            if at + size > slots[turn + 1]:
                break
            self._write(at, 3, payload, (activation | line << 32, self.seen))
            self.words[at] = size | Kind.LINE << 16 | Has.FULL << 24 | place
            at += size
        self.words[Word.SAMPLE] = self._samples << 32 | at - start

    def _write(self, at: int, header: int, payload: bytes, rest: tuple[int, ...]) -> None:
        """Write a record but for its first word."""
        for number, word in enumerate(rest, at + 1):
            self.words[number] = word
        start = at + header << 3
        padded = payload + bytes(-len(payload) & 7)  # over what an earlier record left there
        self._memory[start : start + len(padded)] = padded

    def _add_to_ring(self, first: int, second: int, payload: bytes) -> None:
        size = 3 + (len(payload) + 7 >> 3)
        words = self.words
        with self._lock:
            start = self._ring_next
            if start % self._ring_size + size > self._ring_size:  # records never wrap
                start += self._ring_size - start % self._ring_size
            back = start - self._ring_last if self._ring_next else 0
            words[Word.RESERVED] = start + size
            self._ring_next = start + size
            self._ring_last = start
            at = self._layout.ring + start % self._ring_size
            self._write(at, 3, payload, (second, self._seen | back << 32))
            words[at] = size | first
            self._seen += 1
            words[Word.LAST] = start + 1

    def _close_head(self) -> None:
        """Let only code objects into the head from now on."""
        with self._lock:
            if self._stop:
                self._seen = self.seen
                self._stop = self.op_stop = 0
                self._budget += self._stages[0][0]

    def _end_stage(self) -> None:
        if self._stop:
            self._close_head()
            if self._budget > 0:
                return
        _, callback = self._stages.pop(0)
        self._budget = self._stages[0][0] if self._stages else -1
        callback()


def place_of(depth: int, code: int) -> int:
    """Return where an activation runs as records have it."""
    return min(depth, 0xFFFF) << 32 | code << 48


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")
