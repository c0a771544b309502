from __future__ import annotations

import asyncio

from egcfg_backends_hf.engine.active import ActiveSequences, ActiveTasks
from egcfg_backends_hf.engine.prompt_lookup import speculate

FIRST, SECOND = (1, 2, 3, 4), (1, 2, 9, 9, 9)


def branches(active: ActiveSequences) -> set[tuple[int, ...]]:
    return {branch.ids for branch in active.branches}


def test_a_prefix_that_grows_stays_one_branch() -> None:
    active = ActiveSequences()
    assert not active.touch([FIRST, SECOND, FIRST])
    assert not active.touch([(*FIRST, 5)])
    assert not active.touch([(*FIRST, 5, 6), (*SECOND, 5, 6)])
    assert branches(active) == {(*FIRST, 5, 6), (*SECOND, 5, 6)}


def test_a_prefix_that_shrinks_stays_one_branch_and_leaves_something_to_evict() -> None:
    active = ActiveSequences()
    active.touch([FIRST, SECOND])
    assert active.touch([FIRST[:3]])
    assert branches(active) == {FIRST[:3], SECOND}


def test_another_prefix_takes_the_place_of_the_likest_branch() -> None:
    active = ActiveSequences()
    active.touch([FIRST, SECOND])
    assert active.touch([(1, 2, 9, 8)])
    assert branches(active) == {FIRST, (1, 2, 9, 8)}


def test_what_is_asked_about_in_a_call_is_not_replaced_by_it() -> None:
    active = ActiveSequences()
    active.touch([FIRST, (5, 6)])
    assert active.touch([(*FIRST, 7), (1, 2, 3, 8)])
    assert branches(active) == {(*FIRST, 7), (1, 2, 3, 8)}


def test_the_longest_branch_is_looked_up_as_it_grows() -> None:
    active = ActiveSequences()
    active.touch([(1, 2, 3), (7, 1, 2, 3, 4)])
    assert speculate((1, 2, 3), active.indexes(), 4) == (4,)
    active.touch([(7, 1, 2, 3, 4, 5)])
    assert speculate((1, 2, 3), active.indexes(), 4) == (4, 5)
    active.touch([(7, 1, 2, 8)])  # what it was is looked up no more
    assert speculate((1, 2, 3), active.indexes(), 4) == ()


def test_each_task_has_sequences_of_its_own_until_it_is_done() -> None:
    async def touch(tasks: ActiveTasks, ids: tuple[int, ...]) -> None:
        tasks.current().touch([ids])
        tasks.current().sampled([(*ids, 0)])
        await asyncio.sleep(0)
        tasks.current().in_flight = [(*ids, 1)]

    async def check() -> None:
        tasks = ActiveTasks()
        tasks.current().touch([FIRST])
        others = [asyncio.create_task(touch(tasks, ids)) for ids in (SECOND, (5,))]
        await asyncio.sleep(0)
        expected = {FIRST, SECOND, (5,), (*SECOND, 0), (5, 0)}
        assert set(tasks.sequences()) == expected
        await others[0]
        await others[1]
        assert tasks.sequences() == [FIRST]

    asyncio.run(check())
