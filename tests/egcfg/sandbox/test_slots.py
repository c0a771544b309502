"""Who waits for a slot takes turns."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from egcfg.sandbox import Execution, Sandbox
from egcfg.sandbox.slots import Slots, one_caller


async def note(slots: Slots, caller: str, order: list[str]) -> None:
    async with slots.one(caller):
        order.append(caller)
        await asyncio.sleep(0)


def served(*callers: str) -> list[str]:
    order: list[str] = []

    async def all_at_once() -> None:
        slots = Slots(1)
        await asyncio.gather(*(note(slots, caller, order) for caller in callers))
        await asyncio.wait_for(note(slots, "last", order), 60)  # its slot came back

    asyncio.run(all_at_once())
    assert order.pop() == "last"
    return order


def test_callers_take_turns_however_much_each_has_to_do() -> None:
    assert served(*"aaaaabbc") == [*"aabcabaa"]
    assert served(*"aaa") == [*"aaa"]


def test_what_one_caller_starts_waits_as_one() -> None:
    order: list[str] = []

    async def caller(slots: Slots, names: str) -> None:
        with one_caller():
            tasks = [asyncio.ensure_future(note(slots, name, order)) for name in names]
        await asyncio.gather(*tasks)

    async def both() -> None:
        slots = Slots(1)
        await asyncio.gather(caller(slots, "abcd"), caller(slots, "xy"))

    asyncio.run(both())
    assert order == [*"abxcyd"]


def test_whoever_is_cancelled_while_it_waits_or_as_its_turn_comes_loses_no_slot() -> None:
    async def scenario() -> list[str]:
        order: list[str] = []
        slots = Slots(1)
        async with slots.one("holder"):
            waiting = [asyncio.ensure_future(note(slots, name, order)) for name in "abc"]
            await asyncio.sleep(0)
            waiting[0].cancel()
        waiting[1].cancel()  # it was given the slot a moment ago
        for each in waiting:
            with suppress(asyncio.CancelledError):
                await asyncio.wait_for(each, 60)
        return order

    assert asyncio.run(scenario()) == ["c"]


def test_a_call_with_many_executions_does_not_hold_up_one_with_one() -> None:
    async def race() -> bool:
        async with Sandbox(workers=1) as sandbox:
            await sandbox.canary()
            many = asyncio.ensure_future(sandbox.run([Execution(source="x = 1")] * 60))
            await asyncio.sleep(0)
            await sandbox.run([Execution(source="x = 1")])
            was_first = not many.done()
            await many
            return was_first

    assert asyncio.run(race())
