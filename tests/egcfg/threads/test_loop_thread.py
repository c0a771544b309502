"""A loop in a thread of its own, as it ends; what it is for: `tests/egcfg/test_blocking.py`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

import pytest

from egcfg.threads.loop_thread import LoopThread

PATIENCE = 120.0
"""Seconds after which something that should happen at once counts as not happening."""


def test_what_is_at_work_when_its_loop_ends_is_cancelled_and_cleans_up() -> None:
    events: list[str] = []
    works = threading.Event()

    async def work() -> AsyncGenerator[int, None]:
        try:
            yield 1
            works.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            events.append("cancelled")
            await asyncio.sleep(0)
            events.append("cleaned up")
            raise

    others = set(threading.enumerate())
    loop = LoopThread()
    steps = loop.iterate(work())
    assert next(steps) == 1
    assert not works.is_set()  # it runs no further than it is asked to

    def end() -> None:
        assert works.wait(PATIENCE)
        loop.close()

    ending = threading.Thread(target=end)
    ending.start()
    with pytest.raises(asyncio.CancelledError):
        next(steps)
    ending.join(PATIENCE)
    assert events == ["cancelled", "cleaned up"]
    assert set(threading.enumerate()) == others


def test_another_loop_goes_on_while_it_waits_and_cancels_what_it_waits_for() -> None:
    events: list[str] = []
    begun = threading.Event()

    async def add(number: int) -> int:
        await asyncio.sleep(0)
        return number + 1

    async def fail() -> None:
        raise KeyError("its own")

    async def hang() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            events.append("over")

    async def waits(loop: LoopThread) -> None:
        assert await asyncio.gather(*(loop.wait(add(n)) for n in range(50))) == list(range(1, 51))
        with pytest.raises(KeyError, match="its own"):
            await loop.wait(fail())
        waiting = asyncio.ensure_future(loop.wait(hang()))
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert events == ["over"]  # before the caller goes on

    loop = LoopThread()
    asyncio.run(waits(loop))
    loop.close()


def test_threads_that_use_it_for_the_first_time_at_once_get_the_same_loop() -> None:
    async def loop_here() -> int:
        return id(asyncio.get_running_loop())

    for _ in range(20):
        loop = LoopThread()
        together = threading.Barrier(4)

        def use(loop: LoopThread = loop, together: threading.Barrier = together) -> int:
            together.wait(PATIENCE)
            return loop.run(loop_here())

        with ThreadPoolExecutor(4) as threads:
            assert len({each.result() for each in [threads.submit(use) for _ in range(4)]}) == 1
        loop.close()
