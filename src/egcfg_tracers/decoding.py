"""Reads what a watched program's process left in the shared memory.

The bytes come from the process of an untrusted program, which can write there whatever it likes:
any memory decodes to some list of events, without an exception.
"""

from __future__ import annotations

import itertools
import struct
from functools import lru_cache
from typing import NamedTuple

from attrs import evolve, frozen

from egcfg.interfaces.tracer import EventKind, Opcode, RaisedValue, TraceEvent, Value
from egcfg_tracers import journal
from egcfg_tracers.values import FIELD, clean

__all__ = ["Recording", "decode"]

SECTION, ROW = journal.SECTION, journal.ROW
_MAX_NAME = 60
_MAX_PARTS = 8  # of a row
_UNKNOWN = "?"


@frozen(kw_only=True)
class Recording:
    """What was recorded of one run.

    Attributes:
        events: in order of time.
        result: what the call returned.
        last_seen: frames of the program, outermost first, as a late sample saw them; events of a
            program that was no longer watched closely. Only of use when it was killed.
        events_seen: how many events happened while the program was watched.
        cut: whether some of them are missing.
        coarse: whether changes deep inside large values may be missing.
        lost: whether watching ended too early, or the memory makes no sense.
    """

    events: tuple[TraceEvent, ...] = ()
    result: Value | None = None
    last_seen: tuple[TraceEvent, ...] = ()
    events_seen: int = 0
    cut: bool = False
    coarse: bool = False
    lost: bool = False


class _Instruction(NamedTuple):
    line: int
    opcode: Opcode


class _Code(NamedTuple):
    name: str
    rows: dict[int, _Instruction]

    def instruction(self, offset: int) -> _Instruction:
        known = self.rows.get(offset)
        return known or _Instruction(0, Opcode(offset=offset, name=_UNKNOWN))


_NO_CODE = _Code(_UNKNOWN, {})
_NOWHERE = 0, _NO_CODE
_EVENT_KINDS = tuple(map(EventKind, journal.KINDS))
_LINE_EVENT, _OPCODE_EVENT = EventKind.LINE, EventKind.OPCODE
_OPCODE, _CODE = journal.Kind.OPCODE, journal.Kind.CODE
_FULL, _VALUE, _RAISED = journal.Has.FULL, journal.Has.VALUE, journal.Has.RAISED


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
    head, tail = reader.read_head(layout), []
    if words[journal.Word.LAST]:
        tail = reader.read_ring(
            layout, words[journal.Word.RESERVED], words[journal.Word.LAST], tail_events + 1
        )
    result = None
    for events in (tail, head):
        if result is None and events and events[-1].function == journal.CALL:
            result = events.pop().value
    events = head + tail[-tail_events:]
    if any(a.index >= b.index for a, b in itertools.pairwise(events)):
        return Recording(lost=True)  # only the program can have done that
    flags = words[journal.Word.FLAGS]
    seen = events[-1].index + 1 if events else 0
    # An older sample tells nothing that later events do not.
    sample = reader.read_sample(layout, words[journal.Word.SAMPLE])
    sample = [event for event in sample if event.index >= seen]
    return Recording(
        events=tuple(events),
        result=result,
        last_seen=tuple(evolve(event, index=seen + n) for n, event in enumerate(sample)),
        events_seen=seen,
        cut=bool(flags & journal.Flag.CUT) or seen > len(events),
        coarse=bool(flags & journal.Flag.COARSE),
        lost=bool(flags & journal.Flag.LOST),
    )


class _Reader:
    """Reads records as events."""

    def __init__(self, memory: bytes) -> None:
        self._memory = memory
        self._words = memoryview(memory).cast("Q")
        self._codes: dict[int, _Code] = {}
        self.unshown = 0  # instructions that are not the program's own

    def read_head(self, layout: journal.Layout) -> list[TraceEvent]:
        events: list[TraceEvent] = []
        places: dict[int, tuple[int, _Code]] = {}  # activation -> depth, code
        words = self._words
        at = journal.HEAD_START
        end = min(layout.ring, len(words))
        while at < end and (first := words[at]):
            size = first & 0xFFFF
            if size == 1:
                activation = first >> 32
                depth, code = places.get(activation, _NOWHERE)
                line, opcode = first >> 17 & 0x7FFF, None
                if not first & 1 << 16:
                    if code.rows and 2 * line not in code.rows:
                        self.unshown += 1
                        at += size
                        continue
                    line, opcode = code.instruction(2 * line)
                event = TraceEvent(
                    index=len(events),
                    kind=_LINE_EVENT if opcode is None else _OPCODE_EVENT,
                    activation=activation,
                    depth=depth,
                    function=code.name,
                    line=line,
                    opcode=opcode,
                )
                events.append(event)
            elif size < 2 or at + size > end:
                break
            elif first >> 16 & 0xFF == _CODE:
                self._enter_code(words[at + 1], self._payload(at + 2, at + size))
            else:
                found = self._read(at, size, len(events))
                if found is None:
                    break
                places[found.activation] = found.depth, self._codes.get(first >> 48, _NO_CODE)
                events.append(found)
            at += size
        return events

    def read_ring(
        self, layout: journal.Layout, reserved: int, last: int, limit: int
    ) -> list[TraceEvent]:
        """Walk back from the last record to what has been overwritten, or to `limit` records."""
        length = layout.first_sample - layout.ring
        events: list[TraceEvent] = []
        position = last - 1
        while position >= 0 and position >= reserved - length and len(events) < limit:
            at = layout.ring + position % length
            size = self._words[at] & 0xFFFF
            if size < 3 or at + size > layout.first_sample:
                break
            event = self._read(at, size)
            if event is None:
                break
            events.append(event)
            back = self._words[at + 2] >> 32
            if back == 0:
                break
            position -= back
        return events[::-1]

    def read_sample(self, layout: journal.Layout, sample: int) -> list[TraceEvent]:
        if not sample:
            return []
        turn = sample >> 32 & 1
        at, end = (
            (layout.second_sample, layout.end)
            if turn
            else (layout.first_sample, layout.second_sample)
        )
        end = min(at + (sample & 0xFFFFFFFF), end)
        events = []
        while at < end:
            size = self._words[at] & 0xFFFF
            event = self._read(at, size) if size >= 3 and at + size <= end else None
            if event is None:
                break
            events.append(event)
            at += size
        return events

    def _read(self, at: int, size: int, index: int | None = None) -> TraceEvent | None:
        """Read a record of several words; one that holds its own index where none is given."""
        first, second = self._words[at], self._words[at + 1]
        kind = first >> 16 & 0xFF
        if kind >= len(journal.KINDS):
            return None
        start = at + 2
        if index is None:
            index, start = (self._words[start] & 0xFFFFFFFF) - self.unshown, at + 3
        code = self._codes.get(first >> 48, _NO_CODE)
        line, opcode = second >> 32, None
        full = value = raised = None
        globals_text = ""
        text = self._payload(start, at + size) if start < at + size else ""
        has = first >> 24 & 0xFF
        if kind == _OPCODE:
            line, opcode = code.instruction(line)
        elif has:
            parts = [*text.split(SECTION), "", "", "", ""]
            text, all_text, value_text, raised_text, globals_text, *_ = parts
            full = _variables(all_text) if has & _FULL else None
            value = _value(value_text) if has & _VALUE else None
            raised = _raised(raised_text, has) if has & _RAISED else None
        return TraceEvent(
            index=index,
            kind=_EVENT_KINDS[kind],
            activation=second & 0xFFFFFFFF,
            depth=first >> 32 & 0xFFFF,
            function=code.name,
            line=line,
            delta=_variables(text),
            globals=_variables(globals_text),
            full=full,
            value=value,
            raised=raised,
            opcode=opcode,
        )

    def _payload(self, start: int, end: int) -> str:
        data = self._memory[8 * start : 8 * end]
        return data.rstrip(b"\0").decode("utf-8", "backslashreplace")

    def _enter_code(self, number: int, text: str) -> None:
        name, *rows = text.split(ROW)
        instructions = (_instruction(row) for row in rows)
        self._codes[number] = _Code(
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


def _variables(rows: str) -> dict[str, Value]:
    return dict(map(_variable, rows.split(ROW))) if rows else {}


@lru_cache(maxsize=500)  # most variables come again: in an event that tells all, and in other runs
def _variable(row: str) -> tuple[str, Value]:
    name, _, value = row.partition(FIELD)
    return _name(name), _value(value)


def _value(row: str) -> Value:
    kind, text, *places = [*row.split(FIELD), ""][:_MAX_PARTS]
    return Value(_name(kind), clean(text), tuple(clean(place) for place in places if place))


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
