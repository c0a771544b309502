from __future__ import annotations

import gc

import psutil
import pytest
import torch

from egcfg_backends_hf.engine.slot_cache import GROWTH, RESERVED, SlotBuffers

HEADS, SIZE = 64, 32
SLOT = 2 * HEADS * SIZE * 4


def write(buffers: SlotBuffers, slots: list[int], used: int, number: int = 0) -> None:
    """Write keys that are their slot's number, and values that are its negative."""
    keys = torch.tensor(slots, dtype=torch.float32)[None, None, :, None].expand(1, HEADS, -1, SIZE)
    buffers.write(number, torch.tensor(slots), keys, -keys, used)


def read(buffers: SlotBuffers, used: int) -> list[float]:
    """Read what every number of a slot's key is, for each slot."""
    keys, values = buffers.read(0, used)
    assert torch.equal(keys, -values)
    assert torch.equal(keys, keys[:, :1, :, :1].expand_as(keys))
    return keys[0, 0, :, 0].tolist()


def resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def test_memory_is_taken_for_what_is_written_and_given_back_at_once() -> None:
    buffers, before = SlotBuffers(), resident()
    write(buffers, [0], 1)  # its room is 32 MiB; a page for each head, of keys and of values
    assert resident() - before < 4 * 2**20
    write(buffers, list(range(RESERVED // 2)), RESERVED // 2)
    held = resident() - before
    assert buffers.bytes == RESERVED // 2 * SLOT == 16 * 2**20
    assert buffers.bytes - 2**20 < held < buffers.bytes + 4 * 2**20
    buffers.clear()
    assert resident() - before < 4 * 2**20
    assert buffers.bytes == 0


def test_a_buffer_keeps_its_place_while_it_grows_within_its_room() -> None:
    buffers = SlotBuffers()
    write(buffers, [0], 1)
    keys, values = buffers.read(0, 1)
    for used in range(2, RESERVED, 100):
        write(buffers, [used - 1], used)
        now = buffers.read(0, used)
        assert [now[0].data_ptr(), now[1].data_ptr()] == [keys.data_ptr(), values.data_ptr()]


def test_what_was_written_stays_however_buffers_grow_and_shrink_and_the_rest_is_zero() -> None:
    buffers = SlotBuffers()
    write(buffers, [1, 3], 5)
    assert read(buffers, 5) == [0, 1, 0, 3, 0]
    write(buffers, [RESERVED + 7], RESERVED + 8)
    assert read(buffers, 5) == [0, 1, 0, 3, 0]
    assert read(buffers, RESERVED + 8)[-2:] == [0, RESERVED + 7]
    buffers.trim(4)
    assert buffers.bytes == 4 * SLOT
    write(buffers, [6], 7)
    assert read(buffers, 7) == [0, 1, 0, 3, 0, 0, 6]  # what was beyond is forgotten
    assert buffers.bytes == 7 * SLOT


@pytest.mark.parametrize(("slots", "trimmed"), [(2 * 50 + GROWTH, False), (300, True)])
def test_room_is_kept_for_as_much_again(slots: int, trimmed: bool) -> None:
    buffers = SlotBuffers()
    write(buffers, [0], slots)
    buffers.trim(50)
    assert (buffers.bytes < slots * SLOT) == trimmed


def test_another_lanes_slots_are_copied_in_the_order_that_is_asked_for() -> None:
    source, copy = SlotBuffers(), SlotBuffers()
    for number in range(2):
        write(source, list(range(9)), 9, number)
    copy.copy(source, [8, 2, 5])
    assert read(copy, 3) == [8, 2, 5]
    assert copy.bytes == 2 * 3 * SLOT
    write(copy, [3], 4)
    assert read(copy, 4) == [8, 2, 5, 3]
    assert read(source, 9) == list(range(9))


def test_a_buffer_for_which_there_are_no_addresses_is_memory_that_ran_out() -> None:
    keys = torch.zeros(1, 1, 1, 1).expand(1, 2**22, 1, 2**22)
    with pytest.raises(torch.OutOfMemoryError, match="cannot map memory"):
        SlotBuffers().write(0, torch.tensor([0]), keys, keys, 1)
