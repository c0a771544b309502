"""A loop in a thread of its own, as it ends; what it is for: `tests/egcfg/test_blocking.py`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator

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
    assert not [thread for thread in threading.enumerate() if thread.name == "egcfg loop"]
