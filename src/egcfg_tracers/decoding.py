"""Reads what a watched program's process left in the shared memory.

The bytes come from the process of an untrusted program, which can write there whatever it likes:
any memory decodes to some list of events, without an exception.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
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


class _Record(NamedTuple):
    kind: int
    has: int
    depth: int
    number: int
    activation: int
    code: int
    line: int
    text: str


def decode(memory: bytes, tail_events: int) -> Recording:
    """Return the events in `memory`, of the ring only the last `tail_events`."""
    if len(memory) < 4096:
        return Recording(lost=True)
    words = struct.unpack_from("<8Q", memory)
    if words[journal.Word.MAGIC] != journal.MAGIC:
        return Recording(lost=True)
    layout = journal.Layout.of(len(memory))
    codes = _read_codes(memory, layout, words[journal.Word.CODES])
    head = list(_read_records(memory, layout.head, min(words[journal.Word.HEAD], layout.ring)))
    ring = _read_ring(
        memory, layout, words[journal.Word.RESERVED], words[journal.Word.LAST], tail_events
    )
    records = [*head, *ring]
    indices = [record.number for record in records]
    if any(a >= b for a, b in itertools.pairwise(indices)):  # only the program can have done that
        return Recording(lost=True)
    flags = words[journal.Word.FLAGS]
    seen = indices[-1] + 1 if indices else 0
    # An older sample tells nothing that later events do not.
    sample = [record for record in _read_sample(memory, layout, words) if record.number >= seen]
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


def _read_codes(memory: bytes, layout: journal.Layout, end: int) -> dict[int, _Code]:
    codes = {}
    position = layout.codes
    end = min(end, layout.head)
    while position + journal.CODE.size <= end:
        size, number = journal.CODE.unpack_from(memory, position)
        stop = position + size
        if stop <= position or stop > end:
            break
        name, *rows = _text(memory[position + journal.CODE.size : stop]).split(ROW)
        instructions = (_instruction(row) for row in rows)
        codes[number] = _Code(
            clean(name, _MAX_NAME) or _UNKNOWN,
            {item.opcode.offset: item for item in instructions if item is not None},
        )
        position = stop
    return codes


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


def _read_records(memory: bytes, start: int, end: int) -> Iterator[_Record]:
    """Yield the records that lie one after another between `start` and `end`."""
    while start + journal.RECORD.size <= end:
        size, _back, record = _read_record(memory, start, end)
        if record is None:
            return
        yield record
        start += size


def _read_record(memory: bytes, start: int, end: int) -> tuple[int, int, _Record | None]:
    size, back, kind, has, depth, index, activation, code, line = journal.RECORD.unpack_from(
        memory, start
    )
    stop = start + size
    if size < journal.RECORD.size or stop > end or kind >= len(journal.KINDS):
        return size, back, None
    text = _text(memory[start + journal.RECORD.size : stop])
    return size, back, _Record(kind, has, depth, index, activation, code, line, text)


def _read_ring(
    memory: bytes, layout: journal.Layout, reserved: int, last: int, limit: int
) -> list[_Record]:
    """Walk back from the last record to what has been overwritten, or to `limit` records."""
    size = layout.first_sample - layout.ring
    records: list[_Record] = []
    position = last - 1
    while position >= 0 and position >= reserved - size and len(records) < limit:
        start = layout.ring + position % size
        if start + journal.RECORD.size > layout.first_sample:
            break
        _size, back, record = _read_record(memory, start, layout.first_sample)
        if record is None:
            break
        records.append(record)
        if back == 0:
            break
        position -= back
    return records[::-1]


def _read_sample(
    memory: bytes, layout: journal.Layout, words: tuple[int, ...]
) -> Iterator[_Record]:
    sample = words[journal.Word.SAMPLE]
    if not sample:
        return iter(())
    turn = sample >> 32 & 1
    start, end = (
        (layout.second_sample, layout.end) if turn else (layout.first_sample, layout.second_sample)
    )
    return _read_records(memory, start, min(start + (sample & 0xFFFFFFFF), end))


def _event(record: _Record, codes: dict[int, _Code]) -> TraceEvent:
    code = codes.get(record.code, _Code(_UNKNOWN, {}))
    kind = EventKind(journal.KINDS[record.kind])
    line = record.line
    opcode = None
    if kind is EventKind.OPCODE:
        unknown = _Instruction(0, Opcode(offset=record.line, name=_UNKNOWN))
        line, opcode = code.rows.get(record.line, unknown)
    delta, full, value, raised = [*record.text.split(SECTION), "", "", "", ""][:4]
    has = record.has
    return TraceEvent(
        index=record.number,
        kind=kind,
        activation=record.activation,
        depth=record.depth,
        function=code.name,
        line=line,
        delta=_variables(delta),
        full=_variables(full) if has & journal.Has.FULL else None,
        value=_value(value) if has & journal.Has.VALUE else None,
        raised=_raised(raised, has) if has & journal.Has.RAISED else None,
        opcode=opcode,
    )


def _variables(rows: str) -> dict[str, Value]:
    variables = {}
    for row in rows.split(ROW) if rows else ():
        name, _, value = row.partition(FIELD)
        variables[clean(name, _MAX_NAME)] = _value(value)
    return variables


def _value(row: str) -> Value:
    kind, _, text = row.partition(FIELD)
    return Value(clean(kind, _MAX_NAME), clean(text))


def _raised(row: str, has: int) -> RaisedValue:
    kind, _, message = row.partition(FIELD)
    return RaisedValue(
        type=clean(kind, _MAX_NAME),
        message=clean(message),
        first=bool(has & journal.Has.FIRST),
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
