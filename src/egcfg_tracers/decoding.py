"""Reads what a watched program's process left in the shared memory.

The bytes come from the process of an untrusted program, which can write there whatever it likes:
any memory decodes to some list of events, without an exception.
"""

from __future__ import annotations

import itertools
import struct
from functools import lru_cache
from typing import NamedTuple

from attrs import frozen

from egcfg.tracer import EventKind, Opcode, RaisedValue, TraceEvent, Value
from egcfg_tracers import journal
from egcfg_tracers.values import FIELD, clean

__all__ = ["Recording", "decode"]

SECTION, ROW = journal.SECTION, journal.ROW
_MAX_NAME = 60
_UNKNOWN = "?"


@frozen(kw_only=True)
class Recording:
    """What was recorded of one run.

    Attributes:
        events: in order of time.
        last_seen: frames of the program, outermost first, as a late sample saw them; events of a
            program that was no longer watched closely. Only of use when it was killed.
        events_seen: how many events happened while the program was watched.
        cut: whether some of them are missing.
        lost: whether watching ended too early, or the memory makes no sense.
    """

    events: tuple[TraceEvent, ...] = ()
    last_seen: tuple[TraceEvent, ...] = ()
    events_seen: int = 0
    cut: bool = False
    lost: bool = False


class _Instruction(NamedTuple):
    line: int
    opcode: Opcode


class _Code(NamedTuple):
    name: str
    rows: dict[int, _Instruction]


_NO_CODE = _Code(_UNKNOWN, {})
_NOWHERE = 0, 0
_EVENT_KINDS = tuple(map(EventKind, journal.KINDS))
_LINE, _OPCODE, _CODE = journal.Kind.LINE, journal.Kind.OPCODE, journal.Kind.CODE
_FULL, _VALUE, _RAISED = journal.Has.FULL, journal.Has.VALUE, journal.Has.RAISED


class _Record(NamedTuple):
    kind: int
    has: int
    depth: int
    number: int
    activation: int
    code: int
    line: int
    text: str


def decode(memory: bytes, size: int, tail_events: int) -> Recording:
    """Return the events that a memory holds.

    Args:
        memory: its content; the zeros at its end may be missing.
        size: its length in the watched process, in bytes.
        tail_events: how many events of the ring to return: the last ones.
    """
    memory = memory.ljust(8 * journal.HEAD_START, b"\0")
    words = struct.unpack_from(f"={journal.HEAD_START}Q", memory)
    if words[journal.Word.MAGIC] != journal.MAGIC or size < 4096:
        return Recording(lost=True)
    layout = journal.Layout.of(size)
    has_tail = words[journal.Word.LAST] or words[journal.Word.SAMPLE]
    reader = _Reader(memory.ljust(size if has_tail else -(-len(memory) // 8) * 8, b"\0"))
    records = reader.read_head(layout)
    if words[journal.Word.LAST]:
        records += reader.read_ring(
            layout, words[journal.Word.RESERVED], words[journal.Word.LAST], tail_events
        )
    indices = [record.number for record in records]
    if any(a >= b for a, b in itertools.pairwise(indices)):  # only the program can have done that
        return Recording(lost=True)
    flags = words[journal.Word.FLAGS]
    seen = indices[-1] + 1 if indices else 0
    # An older sample tells nothing that later events do not.
    sample = reader.read_sample(layout, words[journal.Word.SAMPLE])
    sample = [record for record in sample if record.number >= seen]
    codes = reader.codes
    return Recording(
        events=tuple(_event(record, codes) for record in records),
        last_seen=tuple(
            _event(record._replace(number=seen + place), codes)
            for place, record in enumerate(sample)
        ),
        events_seen=seen,
        cut=bool(flags & journal.Flag.CUT) or seen > len(records),
        lost=bool(flags & journal.Flag.LOST),
    )


class _Reader:
    """Reads records; `codes` are the code objects that it came across."""

    def __init__(self, memory: bytes) -> None:
        self._memory = memory
        self._words = memoryview(memory).cast("Q")
        self.codes: dict[int, _Code] = {}

    def read_head(self, layout: journal.Layout) -> list[_Record]:
        records: list[_Record] = []
        places: dict[int, tuple[int, int]] = {}  # activation -> depth, code
        words = self._words
        at = journal.HEAD_START
        end = min(layout.ring, len(words))
        while at < end and (first := words[at]):
            size = first & 0xFFFF
            if size == 1:
                activation = first >> 32
                depth, code = places.get(activation, _NOWHERE)
                line = first >> 17 & 0x7FFF
                kind = _LINE
                if not first & 1 << 16:
                    kind, line = _OPCODE, 2 * line
                records.append(_Record(kind, 0, depth, len(records), activation, code, line, ""))
            elif size < 2 or at + size > end:
                break
            elif first >> 16 & 0xFF == _CODE:
                self._enter_code(words[at + 1], self._payload(at + 2, at + size))
            else:
                record = self._read(at, size, len(records))
                if record is None:
                    break
                places[record.activation] = record.depth, record.code
                records.append(record)
            at += size
        return records

    def read_ring(
        self, layout: journal.Layout, reserved: int, last: int, limit: int
    ) -> list[_Record]:
        """Walk back from the last record to what has been overwritten, or to `limit` records."""
        length = layout.first_sample - layout.ring
        records: list[_Record] = []
        position = last - 1
        while position >= 0 and position >= reserved - length and len(records) < limit:
            at = layout.ring + position % length
            size = self._words[at] & 0xFFFF
            if size < 3 or at + size > layout.first_sample:
                break
            record = self._read(at, size)
            if record is None:
                break
            records.append(record)
            back = self._words[at + 2] >> 32
            if back == 0:
                break
            position -= back
        return records[::-1]

    def read_sample(self, layout: journal.Layout, sample: int) -> list[_Record]:
        if not sample:
            return []
        turn = sample >> 32 & 1
        at, end = (
            (layout.second_sample, layout.end)
            if turn
            else (layout.first_sample, layout.second_sample)
        )
        end = min(at + (sample & 0xFFFFFFFF), end)
        records = []
        while at < end:
            size = self._words[at] & 0xFFFF
            record = self._read(at, size) if size >= 3 and at + size <= end else None
            if record is None:
                break
            records.append(record)
            at += size
        return records

    def _read(self, at: int, size: int, number: int | None = None) -> _Record | None:
        """Read a record of several words; one that holds its own number where none is given."""
        first, second = self._words[at], self._words[at + 1]
        kind = first >> 16 & 0xFF
        if kind >= len(journal.KINDS):
            return None
        header = 2
        if number is None:
            header, number = 3, self._words[at + 2] & 0xFFFFFFFF
        return _Record(
            kind,
            first >> 24 & 0xFF,
            first >> 32 & 0xFFFF,
            number,
            second & 0xFFFFFFFF,
            first >> 48,
            second >> 32,
            self._payload(at + header, at + size) if size > header else "",
        )

    def _payload(self, start: int, end: int) -> str:
        data = self._memory[8 * start : 8 * end]
        return data.rstrip(b"\0").decode("utf-8", "backslashreplace")

    def _enter_code(self, number: int, text: str) -> None:
        name, *rows = text.split(ROW)
        instructions = (_instruction(row) for row in rows)
        self.codes[number] = _Code(
            clean(name, _MAX_NAME) or _UNKNOWN,
            {item.opcode.offset: item for item in instructions if item is not None},
        )


def _instruction(row: str) -> _Instruction | None:
    try:
        offset, line, name, arg, argrepr = row.split(FIELD)
        return _Instruction(
            int(line[:10]),
            Opcode(
                offset=int(offset[:10]),
                name=clean(name, _MAX_NAME),
                arg=int(arg[:10]) if arg else None,
                argrepr=clean(argrepr),
            ),
        )
    except ValueError:
        return None


def _event(record: _Record, codes: dict[int, _Code]) -> TraceEvent:
    kind, has, depth, number, activation, code_number, line, text = record
    code = codes.get(code_number, _NO_CODE)
    if has and kind != _OPCODE:
        delta, full, value, raised, *_ = [*text.split(SECTION), "", "", ""]
        return TraceEvent(
            index=number,
            kind=_EVENT_KINDS[kind],
            activation=activation,
            depth=depth,
            function=code.name,
            line=line,
            delta=_variables(delta),
            full=_variables(full) if has & _FULL else None,
            value=_value(value) if has & _VALUE else None,
            raised=_raised(raised, has) if has & _RAISED else None,
        )
    opcode = None
    if kind == _OPCODE:
        unknown = _Instruction(0, Opcode(offset=line, name=_UNKNOWN))
        line, opcode = code.rows.get(line, unknown)
    return TraceEvent(
        index=number,
        kind=_EVENT_KINDS[kind],
        activation=activation,
        depth=depth,
        function=code.name,
        line=line,
        delta=_variables(text.partition(SECTION)[0]) if text else {},
        opcode=opcode,
    )


def _variables(rows: str) -> dict[str, Value]:
    return dict(map(_variable, rows.split(ROW))) if rows else {}


@lru_cache(maxsize=500)  # most variables come again: in an event that tells all, and in other runs
def _variable(row: str) -> tuple[str, Value]:
    name, _, value = row.partition(FIELD)
    return _name(name), _value(value)


def _value(row: str) -> Value:
    kind, _, text = row.partition(FIELD)
    return Value(_name(kind), clean(text))


@lru_cache(maxsize=1_000)  # the same few names come in every event
def _name(text: str) -> str:
    return clean(text, _MAX_NAME)


def _raised(row: str, has: int) -> RaisedValue:
    kind, _, message = row.partition(FIELD)
    return RaisedValue(
        type=_name(kind),
        message=clean(message),
        first=bool(has & journal.Has.FIRST),
    )
