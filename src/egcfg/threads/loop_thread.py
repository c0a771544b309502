"""An event loop in a thread of its own, for callers that block: scripts, notebooks, generators.

It works inside a running loop, too (a notebook has one), since it never touches that one. Ctrl-C
cancels what runs and waits until it has given back what it holds; a second Ctrl-C does not wait.
"""

from __future__ import annotations

import asyncio
import atexit
import queue
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from concurrent.futures import Future
from contextlib import aclosing
from typing import Any, TypeVar

from egcfg.errors import UsageError

__all__ = ["LoopThread", "require_asyncio"]

T = TypeVar("T")


def require_asyncio() -> None:
    """See that the caller runs on an event loop of asyncio.

    Raises:
        UsageError: it runs on none, or on another library's.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError as error:
        raise UsageError(
            "egcfg's coroutines run on asyncio alone; elsewhere, as under trio, call egcfg.solve "
            "or egcfg.reward_blocking in a thread"
        ) from error


class LoopThread:
    """Runs coroutines on its own loop; the thread starts with the first and ends with `close`.

    Attributes:
        hangs: whether a wait for the end of something cancelled was interrupted; then nothing is
            waited for any more.
    """

    def __init__(self) -> None:
        self.hangs = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[Any]] = set()  # nobody else keeps a task that waits
        self._starting = threading.Lock()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return its value; cancel it if the wait is interrupted."""
        task, outcome = self._start(coroutine)
        try:
            return outcome.result()
        except BaseException:
            self._cancel(task, outcome)
            raise

    async def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Do as `run` for a caller on another event loop, which goes on meanwhile.

        Cancelled, it cancels the coroutine and waits until that is over.

        Raises:
            UsageError: that loop is not asyncio's.
        """
        try:
            require_asyncio()
        except UsageError:
            coroutine.close()
            raise
        task, outcome = self._start(coroutine)
        waiter = asyncio.wrap_future(outcome)
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            if not outcome.done():
                self._call(lambda: task.result().cancel())
                await asyncio.gather(waiter, return_exceptions=True)
            raise

    def iterate(self, items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Yield what an asynchronous generator yields; it runs no further than it is asked to.

        All of it runs in one task. Closing this generator, or dropping it, cancels that task.
        """
        answers: queue.SimpleQueue[tuple[bool, T | None]] = queue.SimpleQueue()
        wanted = asyncio.Semaphore(1)

        async def produce() -> None:
            try:
                async with aclosing(items):
                    await wanted.acquire()
                    async for item in items:
                        answers.put((True, item))
                        await wanted.acquire()
            finally:
                answers.put((False, None))

        task, outcome = self._start(produce())
        try:
            while (answer := answers.get())[0]:
                yield answer[1]  # type: ignore[misc]  # an item, as the flag says
                self._call(wanted.release)
            outcome.result()
        finally:
            self._cancel(task, outcome)

    def close(self) -> None:
        """Cancel whatever runs, and end the loop and its thread."""
        if self._loop is None or self._thread is None:
            return
        self._call(self._loop.stop)
        if self._may_wait():
            self._thread.join()
        self._loop = self._thread = None
        _running.discard(self)

    def _start(
        self, coroutine: Coroutine[Any, Any, T]
    ) -> tuple[Future[asyncio.Task[T]], Future[T]]:
        started: Future[asyncio.Task[T]] = Future()
        outcome: Future[T] = Future()

        def start() -> None:
            task = asyncio.ensure_future(coroutine)
            self._tasks.add(task)
            task.add_done_callback(settle)
            started.set_result(task)

        def settle(task: asyncio.Task[T]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                outcome.set_exception(asyncio.CancelledError())
            elif (error := task.exception()) is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(task.result())

        self._running_loop().call_soon_threadsafe(start)
        return started, outcome

    def _cancel(self, started: Future[asyncio.Task[T]], outcome: Future[T]) -> None:
        """Cancel a task that is not over, and wait until it is."""
        if outcome.done():
            return
        try:
            self._call(lambda: started.result().cancel())
            if self._may_wait():
                outcome.exception()
        except BaseException:
            self.hangs = True
            raise

    def _may_wait(self) -> bool:
        """Whether what is waited for can end: not in the loop's own thread, as a finalizer is."""
        return not self.hangs and threading.current_thread() is not self._thread

    def _call(self, function: Any) -> None:
        assert self._loop is not None  # something was started on it
        self._loop.call_soon_threadsafe(function)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # A daemon: a process that forgets to close can exit.
                self._thread = threading.Thread(
                    target=self._work, args=(self._loop,), name="egcfg loop", daemon=True
                )
                self._thread.start()
                _running.add(self)
            return self._loop

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            unfinished = asyncio.all_tasks(loop)
            for task in unfinished:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*unfinished, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


_running: set[LoopThread] = set()


@atexit.register
def _end_all() -> None:
    """Let what was left half-way clean up while there are threads to do it."""
    for loop in list(_running):
        loop.close()
