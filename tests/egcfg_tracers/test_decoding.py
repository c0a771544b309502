"""Records survive their writer at any moment, and any bytes at all decode to something."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.interfaces.tracer import EventKind, TraceEvent
from egcfg_tracers import decoding
from egcfg_tracers.decoding import Recording
from egcfg_tracers.journal import MAGIC, Flag, Has, Journal, Kind, Layout, Word, place_of

SIZE = 8_192


def journal_of(memory: bytearray, head_events: int = 20, opcodes: int = 0) -> Journal:
    return Journal(memoryview(memory), head_events, opcodes, [(10**6, lambda: None)])


def decode(memory: bytes, tail_events: int) -> Recording:
    return decoding.decode(memory, SIZE, tail_events)


def filled(events: int, text: str = "n\x1fint\x1f1", head_events: int = 20) -> bytearray:
    memory = bytearray(SIZE)
    journal = journal_of(memory, head_events)
    journal.add_code(1, "f")
    for number in range(events):
        journal.add(Kind.LINE, place_of(2, 1), 1, number + 1, 0, text)
    return memory


def check_is_bounded(recording: Recording) -> None:
    assert isinstance(recording, Recording)
    assert len(recording.events) <= SIZE
    for event in (*recording.events, *recording.last_seen):
        assert isinstance(event, TraceEvent)
        texts = [event.function, *event.delta, *(value.text for value in event.delta.values())]
        assert all(text.isprintable() for text in texts)
        assert event.opcode is None or event.opcode.name.isprintable()


@given(st.binary(max_size=2 * SIZE))
def test_any_bytes_decode(memory):
    check_is_bounded(decode(memory, 50))


@given(
    st.integers(0, 300),
    st.lists(st.tuples(st.integers(0, SIZE - 8), st.binary(min_size=1, max_size=8)), max_size=20),
)
def test_a_damaged_memory_decodes(events, patches):
    memory = filled(events)
    for position, patch in patches:
        memory[position : position + len(patch)] = patch
    check_is_bounded(decode(bytes(memory[:SIZE]), 50))


@given(st.lists(st.integers(0, 2**64 - 1), min_size=7, max_size=7))
def test_any_header_decodes(words):
    memory = filled(100)
    struct.pack_into("<7Q", memory, 0, MAGIC, *words[1:])
    check_is_bounded(decode(bytes(memory), 50))


@pytest.mark.parametrize("memory", [b"", b"\0" * 100, b"\0" * SIZE])
def test_a_memory_that_no_engine_wrote_to_is_lost(memory):
    assert decode(memory, 50).lost


def test_few_events_are_all_there():
    recording = decode(bytes(filled(20)), 50)
    assert [event.line for event in recording.events] == list(range(1, 21))
    assert recording.events[0].kind is EventKind.LINE
    assert recording.events[0].function == "f"
    assert recording.events[0].delta["n"].text == "1"
    assert (recording.events_seen, recording.cut, recording.lost) == (20, False, False)


def test_of_many_events_the_first_and_the_last_are_there():
    recording = decode(bytes(filled(1_000)), 10)
    indices = [event.index for event in recording.events]
    assert indices == [*range(20), *range(990, 1_000)]
    assert (recording.events_seen, recording.cut) == (1_000, True)


def test_the_ring_keeps_whole_records_whatever_their_sizes():
    memory = bytearray(SIZE)
    journal = journal_of(memory, 1)
    for number in range(500):
        text = f"v\x1fstr\x1f{'x' * (number * 7 % 120)}"
        journal.add(Kind.LINE, place_of(1, 0), 1, number, 0, text)
        recording = decode(bytes(memory), 1_000)
        last = recording.events[-1]
        assert last.line == number
        assert len(last.delta["v"].text) == number * 7 % 120
        indices = [event.index for event in recording.events[1:]]
        assert indices == list(range(number - len(indices) + 1, number + 1))


def test_a_writer_that_dies_at_any_byte_leaves_whole_records():
    """Every prefix of the writes of one event, in their order, reads as before or as after."""
    before, after = filled(40), filled(41)
    size = len(before)
    layout = Layout.of(size)
    reserved_first = bytearray(before)
    struct.pack_into("<Q", reserved_first, 8 * Word.RESERVED, word(after, Word.RESERVED))
    changed = [i for i in range(8 * layout.ring, size) if before[i] != after[i]]
    old = decode(bytes(before), 50).events
    new = decode(bytes(after), 50).events
    memory = reserved_first
    for position in changed:
        memory[position] = after[position]
        events = decode(bytes(memory), 50).events
        assert events[-1] == old[-1]
        assert all(event in old for event in events)
    memory[:64] = after[:64]
    assert decode(bytes(memory), 50).events == new


def word(memory: bytearray, index: int) -> int:
    return struct.unpack_from("<Q", memory, 8 * index)[0]


def test_a_record_that_is_too_long_loses_its_text_and_says_so():
    memory = bytearray(SIZE)
    journal_of(memory).add(Kind.LINE, place_of(1, 0), 1, 7, Has.FULL, "x" * SIZE)
    recording = decode(bytes(memory), 50)
    assert [(event.line, event.delta) for event in recording.events] == [(7, {})]
    assert recording.cut


def test_what_changes_nothing_takes_one_word_and_is_told_like_the_rest():
    memory = bytearray(SIZE)
    journal = journal_of(memory, opcodes=5)
    journal.add_code(1, "f\x1e0\x1f3\x1fLOAD_FAST\x1f1\x1fn\x1e2\x1f3\x1fRETURN_VALUE\x1f\x1f")
    journal.add(Kind.CALL, place_of(2, 1), 7, 1)
    start = journal.at
    journal.add_line(place_of(2, 1), 7, 3)
    for offset in (0, 2):  # as the engine does it
        journal.words[journal.at] = 1 | 7 << 32 | offset << 16
        journal.at += 1
    assert journal.at == start + 3
    journal.add_line(place_of(2, 1), 7, 1 << 20)  # too large a number for that
    assert (journal.seen, journal.wants_opcodes) == (5, True)
    call, *events = decode(bytes(memory), 50).events
    assert call.kind is EventKind.CALL
    assert [(event.index, event.line, event.kind.value) for event in events] == [
        (1, 3, "line"),
        (2, 3, "op"),
        (3, 3, "op"),
        (4, 1 << 20, "line"),
    ]
    assert {(event.depth, event.activation, event.function) for event in events} == {(2, 7, "f")}
    first, second = (event.opcode for event in events if event.opcode)
    assert (first.offset, first.name, first.arg, first.argrepr) == (0, "LOAD_FAST", 1, "n")
    assert (second.offset, second.name, second.arg) == (2, "RETURN_VALUE", None)


def test_room_for_instructions_is_kept_beside_other_events_and_ends():
    journal = journal_of(bytearray(SIZE), head_events=1_000, opcodes=3)
    for taken in range(3):
        journal.add(Kind.CALL, place_of(2, 1), 7, 1, 0, "some text")
        journal.add_line(place_of(2, 1), 7, 1)
        journal.add_code(taken, "f")
        assert journal.op_stop - journal.at == 3 - taken
        journal.at += 1
    assert not journal.wants_opcodes


def test_a_head_that_was_not_written_to_its_end_reads_up_to_there():
    """Every prefix of the writes of one event: its payload first, and then its first word."""
    before, after = filled(10), filled(11)
    changed = [i for i in range(64, SIZE) if before[i] != after[i]]
    first = changed[0] // 8 * 8
    memory = bytearray(before)
    old, new = decode(bytes(before), 50).events, decode(bytes(after), 50).events
    for position in (i for i in changed if i >= first + 8):
        memory[position] = after[position]
        assert decode(bytes(memory), 50).events == old
    memory[first : first + 8] = after[first : first + 8]
    assert decode(bytes(memory), 50).events == new


def test_only_the_start_of_a_memory_that_is_hardly_used_has_to_be_read():
    memory = filled(10)
    used = bytes(memory).rstrip(b"\0")
    assert len(used) < SIZE // 8
    assert decode(used, 50) == decode(bytes(memory), 50)


def test_a_head_that_is_full_goes_on_in_the_ring_within_the_whole_budget():
    memory = bytearray(SIZE)
    spent: list[int] = []
    journal = Journal(memoryview(memory), 500, 0, [(100, lambda: spent.append(journal.seen))])
    for number in range(700):
        journal.add(Kind.LINE, place_of(1, 0), 1, number, 0, "x" * 20)
    assert spent == [600]
    recording = decode(bytes(memory), 1_000)
    assert recording.events_seen == journal.seen == 700
    assert recording.events[-1].line == 699


def test_a_sample_counts_unless_events_came_after_it():
    memory = bytearray(SIZE)
    journal = journal_of(memory)
    here, deeper = place_of(2, 0), place_of(3, 0)
    journal.add(Kind.CALL, here, 1, 1)
    journal.sample([(here, 1, 5, "\x1dn\x1fint\x1f4")])
    journal.sample([(here, 1, 6, "\x1dn\x1fint\x1f5"), (deeper, 2, 9, "\x1d")])
    latest = decode(bytes(memory), 50).last_seen
    assert [(event.line, event.index) for event in latest] == [(6, 1), (9, 2)]
    assert latest[0].full is not None
    assert latest[0].full["n"].text == "5"
    journal.add(Kind.RETURN, here, 1, 7)
    assert decode(bytes(memory), 50).last_seen == ()


def test_a_flag_says_that_tracing_was_lost():
    memory = bytearray(SIZE)
    journal_of(memory).flag(Flag.LOST)
    assert decode(bytes(memory), 50).lost
