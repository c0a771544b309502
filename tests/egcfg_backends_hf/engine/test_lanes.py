from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest
import torch

from egcfg.interfaces.backend import Logprobs
from egcfg_backends_hf.engine import backoff
from egcfg_backends_hf.engine.lanes import Lane, Lanes
from egcfg_backends_hf.engine.prompt_lookup import speculate
from egcfg_backends_hf.engine.slot_cache import GROWTH

FIRST, SECOND = (1, 2, 3, 4), (1, 2, 9, 9, 9)

SLOT = 2 * 2 * 4
"""Bytes of a slot: keys and values of two numbers in float32, in one layer."""


def new_lane() -> Lane:
    return Lane(0)


def fill(lane: Lane, ids: Sequence[int]) -> None:
    """Compute keys and values: those of a token are its id."""
    path = lane.tree.path(ids)
    lane.tree.take_slots(path)
    slots = torch.tensor([node.slot for node in path])
    numbers = torch.tensor(ids, dtype=torch.float32)[None, None, :, None].expand(1, 1, -1, 2)
    lane.buffers.write(0, slots, numbers, numbers, lane.tree.used)


def kept(lane: Lane, ids: Sequence[int]) -> list[float]:
    """Return the keys of a prefix."""
    slots = torch.tensor([node.slot for node in lane.tree.find(ids)])
    keys, _ = lane.buffers.read(0, lane.tree.used)
    return keys[0, 0, slots, 0].tolist()


def branches(lane: Lane) -> set[tuple[int, ...]]:
    return {branch.ids for branch in lane.branches}


def test_a_prefix_that_grows_stays_one_branch() -> None:
    lane = new_lane()
    lane.touch([FIRST, SECOND, FIRST])
    lane.touch([(*FIRST, 5)])
    lane.touch([(*FIRST, 5, 6), (*SECOND, 5, 6)])
    assert not lane.eviction_is_due
    assert branches(lane) == {(*FIRST, 5, 6), (*SECOND, 5, 6)}


def test_a_prefix_that_shrinks_stays_one_branch_and_leaves_something_to_evict() -> None:
    lane = new_lane()
    lane.touch([FIRST, SECOND])
    assert not lane.eviction_is_due
    lane.touch([FIRST[:3]])
    assert lane.eviction_is_due
    assert branches(lane) == {FIRST[:3], SECOND}


def test_another_prefix_takes_the_place_of_the_likest_branch() -> None:
    lane = new_lane()
    lane.touch([FIRST, SECOND])
    assert not lane.eviction_is_due
    lane.touch([(1, 2, 9, 8)])
    assert lane.eviction_is_due
    assert branches(lane) == {FIRST, (1, 2, 9, 8)}


def test_what_is_asked_about_in_a_call_is_not_replaced_by_it() -> None:
    lane = new_lane()
    lane.touch([FIRST, (5, 6)])
    assert not lane.eviction_is_due
    lane.touch([(*FIRST, 7), (1, 2, 3, 8)])
    assert lane.eviction_is_due
    assert branches(lane) == {(*FIRST, 7), (1, 2, 3, 8)}


def test_the_longest_branch_is_looked_up_as_it_grows() -> None:
    lane = new_lane()
    lane.touch([(1, 2, 3), (7, 1, 2, 3, 4)])
    assert speculate((1, 2, 3), lane.indexes(), 4) == (4,)
    lane.touch([(7, 1, 2, 3, 4, 5)])
    assert speculate((1, 2, 3), lane.indexes(), 4) == (4, 5)
    lane.touch([(7, 1, 2, 8)])  # what it was is looked up no more
    assert speculate((1, 2, 3), lane.indexes(), 4) == ()


def test_what_a_task_needs_no_more_is_evicted_and_its_memory_given_back() -> None:
    lane = new_lane()
    lane.touch([FIRST])
    lane.sampled([(*FIRST, 8)])
    lane.in_flight = [(9,)]
    for ids in ((*FIRST, 8, 8), (9,), (7,) * 1000):
        fill(lane, ids)
    large = lane.buffers.bytes
    lane.evict()
    assert not lane.eviction_is_due
    assert [lane.computed(ids) for ids in ((*FIRST, 8, 8), (9,), (7,))] == [5, 1, 0]
    assert lane.tree.used == 7  # a slot in between is free
    assert lane.buffers.bytes < large / 2
    assert kept(lane, (*FIRST, 8)) == [*FIRST, 8]
    lane.clear()
    assert (lane.tree.used, lane.buffers.bytes, lane.computed(FIRST)) == (0, 0, 0)


def test_a_lane_begins_with_a_copy_that_is_its_own() -> None:
    source, lane = new_lane(), new_lane()
    fill(source, SECOND)
    fill(source, FIRST)
    scores = Logprobs(torch.zeros(3).numpy())
    source.tree.path(FIRST)[1].scores = scores
    copied = lane.begin_as(source, (*FIRST[:3], 7))
    assert [node.token for node in copied] == [*FIRST[:3]]
    assert [node.slot for node in copied] == [0, 1, 2]
    assert [node.scores for node in copied] == [None, scores, None]
    assert lane.computed((*FIRST[:3], 7)) == 3
    source.clear()
    assert kept(lane, FIRST[:3]) == [*FIRST[:3]]


def test_a_lane_begins_with_the_answer_to_its_prompt_for_as_long_as_its_task_follows_it() -> None:
    source, lane = new_lane(), new_lane()
    answer = (*FIRST, 5, 6, 7)
    source.touch([FIRST, SECOND])
    source.touch([answer, (*SECOND, 5)])
    for ids in (answer, (*SECOND, 5)):
        fill(source, ids)
    lane.touch([FIRST])
    assert [node.token for node in lane.begin_as(source, FIRST)] == [*answer]
    lane.touch([(*FIRST, 5)])
    lane.evict()  # as it does when it samples
    assert lane.computed(answer) == len(answer)
    assert kept(lane, answer) == [*answer]
    lane.touch([(*FIRST, 5, 9)])
    lane.evict()
    assert lane.computed(answer) == len((*FIRST, 5))


def test_a_lane_does_not_begin_with_the_answer_to_another_prompt() -> None:
    source, lane = new_lane(), new_lane()
    source.touch([(*FIRST, 5, 6)])
    fill(source, (*FIRST, 5, 6))
    assert [node.token for node in lane.begin_as(source, (*FIRST[:3], 8))] == [*FIRST[:3]]


async def hold(lanes: Lanes, ids: Sequence[int], finish: asyncio.Event, tokens: int = 1) -> Lane:
    lane = await lanes.current(tokens)
    if ids:
        fill(lane, ids)
    await finish.wait()
    return lane


def test_each_task_has_a_lane_of_its_own_until_it_is_done() -> None:
    async def check() -> None:
        lanes, finish = Lanes(SLOT, 10**6), asyncio.Event()
        own = await lanes.current(1)
        assert await lanes.current(1) is own
        others = [asyncio.create_task(hold(lanes, ids, finish)) for ids in (FIRST, SECOND)]
        await asyncio.sleep(0)
        assert [lane.number for lane in lanes.live] == [0, 1, 2]
        assert lanes.bytes == (len(FIRST) + len(SECOND)) * SLOT
        finish.set()
        found = [await task for task in others]
        await asyncio.sleep(0)
        assert lanes.live == [own]
        assert all(lane.idle and lane.eviction_is_due for lane in found)
        assert set(lanes.all) == {own, *found}

    asyncio.run(check())


def test_idle_lanes_go_when_memory_is_short_the_least_recently_used_first() -> None:
    async def check() -> None:
        lanes, finish = Lanes(SLOT, 4 * GROWTH * SLOT), asyncio.Event()
        prompts = (FIRST, SECOND) * 4
        tasks = [asyncio.create_task(hold(lanes, ids, finish)) for ids in prompts]
        await asyncio.sleep(0)
        finish.set()
        old, used, *_ = [await task for task in tasks]
        await asyncio.sleep(0)
        old.last_pass, used.last_pass = 2, 1
        live = await lanes.current(1)
        fill(live, FIRST)
        lanes.tidy()
        assert lanes.all == [used, old, live]
        fill(live, (9,) * (4 * GROWTH - 2 * len(FIRST)))  # grows: one of the others has to go
        lanes.tidy()
        assert lanes.all == [old, live]
        fill(live, (8,) * 10 * GROWTH)  # a live one stays, however large
        lanes.tidy()
        assert lanes.all == [live]
        assert used.computed(SECOND) == old.computed(FIRST) == 0  # nothing holds their memory
        assert live.computed(FIRST) == len(FIRST)

    asyncio.run(check())


@pytest.mark.parametrize(("live", "kept"), [(1, 1), (4, 1), (8, 2), (11, 2)])
def test_a_quarter_as_many_lanes_are_idle_as_were_live_at_once_or_one(live: int, kept: int) -> None:
    async def check() -> None:
        lanes = Lanes(SLOT, 10**6)
        for wave in range(2):
            finish = asyncio.Event()
            tasks = [asyncio.create_task(hold(lanes, FIRST, finish)) for _ in range(live)]
            await asyncio.sleep(0)
            finish.set()
            found = await asyncio.gather(*tasks)
            for number, lane in enumerate(found):
                lane.last_pass = wave * live + number
            await asyncio.sleep(0)
        lanes.tidy()
        assert lanes.all == found[-kept:]

    asyncio.run(check())


def test_an_idle_lane_that_nobody_can_begin_with_is_not_kept() -> None:
    async def check() -> None:
        lanes, finish = Lanes(0, 10**6), asyncio.Event()
        finish.set()
        lane = await asyncio.create_task(hold(lanes, (), finish))
        lane.tree.path(FIRST)[-1].scores = Logprobs(torch.zeros(3).numpy())
        node = lane.tree.path(FIRST)[-1]
        await asyncio.sleep(0)
        lanes.tidy()
        assert lanes.all == []
        assert node.scores is None

    asyncio.run(check())


def test_a_task_waits_where_its_lane_would_not_fit(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        # Room for two lanes of two branches each.
        lanes, finish = Lanes(SLOT, 2 * GROWTH * SLOT), asyncio.Event()
        tasks = [asyncio.create_task(hold(lanes, (), finish, tokens=GROWTH // 2)) for _ in range(4)]
        await asyncio.sleep(0)
        assert [lane.number for lane in lanes.live] == [0, 1]
        tasks[3].cancel()  # of those that wait
        tasks[0].cancel()
        await asyncio.wait([tasks[0], tasks[3]])
        await asyncio.sleep(0.01)
        assert [lane.number for lane in lanes.live] == [1, 2]
        finish.set()
        await asyncio.wait(tasks)

    with caplog.at_level(logging.WARNING):
        asyncio.run(check())
    assert caplog.text.count("enough for 2 at a time") == 1


def test_as_much_room_is_kept_for_a_new_lane_as_the_largest_took() -> None:
    async def check() -> None:
        lanes, finish = Lanes(SLOT, 3 * GROWTH * SLOT), asyncio.Event()
        await lanes.current(1)
        small = asyncio.create_task(hold(lanes, FIRST, finish))
        await asyncio.sleep(0)
        assert len(lanes.live) == 2
        fill(lanes.live[0], (9,) * 2 * GROWTH)
        lanes.tidy()
        third = asyncio.create_task(hold(lanes, (), finish))
        await asyncio.sleep(0)
        assert len(lanes.live) == 2
        finish.set()
        await small
        await asyncio.sleep(0.01)
        assert not third.done()  # still two of the largest do not fit
        third.cancel()

    asyncio.run(check())


def test_the_first_task_runs_however_large_it_is_and_memory_that_ran_out_is_not_there() -> None:
    async def check() -> None:
        lanes, finish = Lanes(SLOT, 10 * GROWTH * SLOT), asyncio.Event()
        fill(await lanes.current(10**9), FIRST)
        lanes.live[0].reserved = 0
        lanes.limit()
        second = asyncio.create_task(hold(lanes, (), finish))
        await asyncio.sleep(0.01)
        assert len(lanes.live) == 1
        second.cancel()

    asyncio.run(check())


def test_room_that_memory_did_not_allow_is_tried_again_after_many_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backoff, "PASSES", 3)

    async def check() -> None:
        lanes, finish = Lanes(SLOT, 10 * GROWTH * SLOT), asyncio.Event()
        fill(await lanes.current(1), FIRST)
        lanes.tidy()
        lanes.limit()
        second = asyncio.create_task(hold(lanes, SECOND, finish))
        for _ in range(2):
            lanes.tidy()
            await asyncio.sleep(0)
            assert len(lanes.live) == 1
        lanes.tidy()
        await asyncio.sleep(0.01)
        assert len(lanes.live) == 2
        third = asyncio.create_task(hold(lanes, FIRST, finish))
        for _ in range(3):  # as after each attempt that does not fail
            lanes.tidy()
        await asyncio.sleep(0.01)
        assert len(lanes.live) == 3
        lanes.limit()  # this one did
        fourth = asyncio.create_task(hold(lanes, FIRST, finish))
        for _ in range(5):
            lanes.tidy()
            await asyncio.sleep(0)
            assert len(lanes.live) == 3
        lanes.tidy()
        await asyncio.sleep(0.01)
        assert len(lanes.live) == 4
        finish.set()
        await asyncio.wait([second, third, fourth])

    asyncio.run(check())
