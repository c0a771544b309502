"""A thread for calls that block, as it ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from egcfg.threads.worker_thread import WorkerThread

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_it_ends_when_it_is_told_to(run: Run) -> None:
    def alive() -> bool:
        return any(thread.name == "worker under test" for thread in threading.enumerate())

    worker = WorkerThread("worker under test")
    assert run(worker.run(lambda: 7)) == 7
    assert alive()
    worker.end()
    deadline = time.monotonic() + 60
    while alive() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not alive()


def test_calls_to_a_worker_that_is_over_fail_instead_of_waiting(run: Run) -> None:
    worker, at_work, go_on = WorkerThread("worker"), threading.Event(), threading.Event()

    def busy() -> str:
        at_work.set()
        go_on.wait()
        return "done"

    async def scenario() -> list[object]:
        first = asyncio.create_task(worker.run(busy))
        await asyncio.to_thread(at_work.wait)
        second = asyncio.create_task(worker.run(busy))
        await asyncio.sleep(0)
        ending = asyncio.create_task(asyncio.to_thread(worker.finish))
        with pytest.raises(RuntimeError, match="the worker thread has ended"):
            await second
        go_on.set()
        await ending
        with pytest.raises(RuntimeError, match="the worker thread has ended"):
            await worker.run(busy)
        return [await first, worker.ended]

    assert run(scenario()) == ["done", True]
