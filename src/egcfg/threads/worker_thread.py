"""A thread of its own for calls that block: one at a time, awaited on an event loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["WorkerThread"]

T = TypeVar("T")


class WorkerThread:
    """A thread that runs one call at a time.

    A daemon, so that a process can end while a call that nobody waits for any more goes on.

    Args:
        name: of the thread.

    Attributes:
        ended: whether it takes no more calls.
    """

    def __init__(self, name: str) -> None:
        self.ended = False
        self._calls: queue.SimpleQueue[Callable[[bool], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call `function` in the thread, after the calls before it, and return what it returns.

        Cancelled while it waits, it is never called; cancelled later, it goes on unheard.

        Raises:
            RuntimeError: the thread has ended, or ends before the call.
        """
        if self.ended:
            raise RuntimeError("the worker thread has ended")
        loop = asyncio.get_running_loop()
        # Not by the future's own exception: it refuses a StopIteration.
        answer: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()

        def settle(outcome: tuple[T | None, BaseException | None]) -> None:
            if not answer.done():
                answer.set_result(outcome)

        def call(wanted: bool) -> None:
            if answer.cancelled():
                return
            outcome: tuple[T | None, BaseException | None]
            try:
                if not wanted:
                    raise RuntimeError("the worker thread has ended")
                outcome = (function(*arguments), None)
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                outcome = (None, error)
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(settle, outcome)

        self._calls.put(call)
        value, error = await answer
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # it returned

    def end(self) -> None:
        """End the thread after the calls that were asked for so far."""
        self.ended = True
        self._calls.put(None)

    def finish(self) -> None:
        """End the thread after the call that it is at, and wait until then; later calls fail.

        For `atexit`, where calls run native code that must not outlive the interpreter.
        """
        self.ended = True
        with suppress(queue.Empty):
            while (call := self._calls.get_nowait()) is not None:
                call(False)
        self._calls.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call(True)
            del call  # what it worked on is free, however long the next one takes to come
