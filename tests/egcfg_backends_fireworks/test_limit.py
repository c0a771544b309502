"""How many requests are in flight at once, by a clock that moves only while somebody sleeps."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from attrs import define, field

from egcfg_backends_fireworks.limit import AdaptiveLimit


@define
class Clock:
    now: float = 0.0
    waits: list[float] = field(factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)
        self.now += seconds


def limit_of(most: int) -> tuple[AdaptiveLimit, Clock]:
    clock = Clock()
    return AdaptiveLimit(most, clock.sleep, clock), clock


@define
class Service:
    """Answers requests that are sent under a limit, and counts those that it has at once."""

    limit: AdaptiveLimit
    busy: int = 0
    seen: int = 0
    order: list[int] = field(factory=list)

    async def ask(self, number: int, steps: int = 1) -> None:
        async with self.limit.slot():
            self.order.append(number)
            self.busy += 1
            self.seen = max(self.seen, self.busy)
            try:
                for _ in range(steps):
                    await asyncio.sleep(0)
            finally:
                self.busy -= 1


async def most_at_once(limit: AdaptiveLimit, requests: int = 40) -> int:
    """Return how many of several requests are in flight together."""
    service = Service(limit)
    async with asyncio.timeout(10.0):
        await asyncio.gather(*(service.ask(number, steps=50) for number in range(requests)))
    assert service.order == list(range(requests))
    return service.seen


async def push_back(limit: AdaptiveLimit, wait: float = 0.0) -> None:
    async with limit.slot() as sent:
        limit.pushed_back(sent, wait)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def checked(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Run an asynchronous test; one that waits for ever fails."""

    def run() -> None:
        async def work() -> None:
            async with asyncio.timeout(10.0):
                await test()

        asyncio.run(work())

    return run


@pytest.mark.parametrize("most", [1, 3, 16])
def test_it_starts_at_the_most_and_requests_go_in_their_order(most: int) -> None:
    assert asyncio.run(most_at_once(limit_of(most)[0])) == most


@pytest.mark.parametrize(("times", "left"), [(1, 4), (2, 2), (3, 1), (9, 1)])
def test_an_overloaded_service_gets_half_as_many_but_never_none(times: int, left: int) -> None:
    async def work() -> int:
        limit, _ = limit_of(8)
        for _ in range(times):
            await push_back(limit)
        return await most_at_once(limit)

    assert asyncio.run(work()) == left


@pytest.mark.parametrize(("answers", "allowed"), [(0, 4), (4, 4), (5, 5), (11, 6), (100, 8)])
def test_a_round_of_answers_brings_one_more_up_to_the_most(answers: int, allowed: int) -> None:
    async def work() -> int:
        limit, _ = limit_of(8)
        await push_back(limit)
        for _ in range(answers):
            limit.answered()
        return await most_at_once(limit)

    assert asyncio.run(work()) == allowed


@checked
async def test_requests_that_were_in_flight_together_halve_it_once() -> None:
    limit, _ = limit_of(8)
    async with AsyncExitStack() as held:
        sent = [await held.enter_async_context(limit.slot()) for _ in range(8)]
        for each in sent:
            limit.pushed_back(each, 0.0)
    assert await most_at_once(limit) == 4
    await push_back(limit)
    assert await most_at_once(limit) == 2


@checked
async def test_none_is_sent_until_what_was_in_flight_fits_the_halved_limit() -> None:
    limit, _ = limit_of(4)
    later = Service(limit)
    held = [AsyncExitStack() for _ in range(4)]
    sent = [await each.enter_async_context(limit.slot()) for each in held]
    waiting = asyncio.create_task(later.ask(0))
    limit.pushed_back(sent[0], 0.0)
    for number, each in enumerate(held):
        await turns()
        assert waiting.done() == (number == 3)  # with 2 or more in flight, none is sent
        await each.aclose()
    await waiting


@checked
async def test_a_wait_that_the_service_asks_for_holds_everything_back_once() -> None:
    limit, clock = limit_of(8)
    await push_back(limit, 7.0)
    assert await most_at_once(limit) == 4
    assert clock.waits == [7.0]  # the others come when it is over


@checked
async def test_a_wait_is_only_made_longer() -> None:
    limit, clock = limit_of(8)
    async with limit.slot() as first, limit.slot() as second:
        limit.pushed_back(first, 7.0)
        limit.pushed_back(second, 2.0)  # halves nothing, but counts as a wait
    async with limit.slot() as third:
        limit.pushed_back(third, 9.0)
    await most_at_once(limit)
    assert clock.waits == [7.0, 9.0]


@checked
async def test_a_wait_that_begins_during_another_is_waited_for_too() -> None:
    limit, clock = limit_of(8)
    async with limit.slot() as sent:
        limit.pushed_back(sent, 3.0)
        waiting = asyncio.create_task(Service(limit).ask(0))
        await asyncio.sleep(0)
        assert clock.waits == [3.0]
        limit.pushed_back(sent, 5.0)
    await waiting
    assert clock.now == 5.0


@checked
async def test_a_request_that_fails_gives_its_place_back() -> None:
    limit, _ = limit_of(1)
    for _ in range(3):
        with pytest.raises(LookupError):
            async with limit.slot():
                raise LookupError
    assert await most_at_once(limit) == 1


@checked
async def test_a_place_that_comes_free_is_no_newcomers() -> None:
    limit, _ = limit_of(1)
    service = Service(limit)
    async with limit.slot():
        first = asyncio.create_task(service.ask(0))
        await turns()
    # The place is free, and the one that waits does not know it yet.
    await service.ask(1)
    assert first.done()
    assert service.order == [0, 1]


@pytest.mark.parametrize("number", [0, 1, 4])
def test_one_that_no_longer_waits_keeps_nobody_and_takes_no_place(number: int) -> None:
    async def work() -> None:
        limit, _ = limit_of(2)
        service = Service(limit)
        async with limit.slot(), limit.slot():
            waiting = [asyncio.create_task(service.ask(each)) for each in range(5)]
            await turns()
            waiting[number].cancel()
            await turns()
            assert waiting[number].cancelled()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert service.order == [each for each in range(5) if each != number]
        assert await most_at_once(limit) == 2

    checked(work)()


@checked
async def test_one_cancelled_as_its_turn_comes_takes_no_place() -> None:
    limit, _ = limit_of(1)
    service = Service(limit)
    async with limit.slot():
        waiting = [asyncio.create_task(service.ask(number)) for number in range(2)]
        await turns()
    waiting[0].cancel()  # its place is free, and it was woken, but it has not run
    await asyncio.gather(*waiting, return_exceptions=True)
    assert service.order == [1]
    assert await most_at_once(limit) == 1


@checked
async def test_one_cancelled_in_the_wait_that_was_asked_for_leaves_it_to_the_next() -> None:
    limit, clock = limit_of(4)
    await push_back(limit, 5.0)
    service = Service(limit)
    waiting = [asyncio.create_task(service.ask(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert clock.waits == [5.0]
    waiting[0].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert service.order == [1, 2]
    assert clock.now == 5.0


@pytest.mark.parametrize("seed", range(20))
def test_many_tasks_are_never_more_than_the_limit(seed: int) -> None:
    """Whatever is answered, pushed back, failed or cancelled, in whatever order."""
    rng = random.Random(seed)
    most = rng.randint(1, 12)
    limit, clock = limit_of(most)
    allowed = float(most)  # worked out here again, one event after the other
    halvings = busy = 0
    quiet_until = 0.0

    async def request() -> None:
        nonlocal allowed, halvings, busy, quiet_until
        async with limit.slot() as sent:
            assert clock.now >= quiet_until
            assert busy < int(allowed)  # those before are back, as many as the limit wants
            born = halvings
            busy += 1
            try:
                for _ in range(rng.randint(0, 6)):
                    await asyncio.sleep(0)
                outcome = rng.random()
                if outcome < 0.15:
                    wait = rng.choice([0.0, 0.5, 3.0])
                    limit.pushed_back(sent, wait)
                    quiet_until = max(quiet_until, clock.now + wait)
                    if born == halvings:
                        allowed, halvings = max(1.0, allowed / 2), halvings + 1
                elif outcome < 0.3:
                    raise LookupError
                else:
                    limit.answered()
                    allowed = min(most, allowed + 1 / allowed)
            finally:
                busy -= 1

    async def work() -> None:
        tasks = []
        for _ in range(300):
            tasks.append(asyncio.create_task(request()))
            if rng.random() < 0.3:
                rng.choice(tasks).cancel()
            if rng.random() < 0.5:
                await asyncio.sleep(0)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            assert end is None or isinstance(end, (LookupError, asyncio.CancelledError)), end
        assert ends.count(None) > 50
        assert busy == 0
        assert await most_at_once(limit) == int(allowed)

    checked(work)()
