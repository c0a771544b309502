"""Calls the methods of a component: what is wrong with one is told by name, in one line.

A coroutine runs on the event loop, a plain method in a worker thread, one call at a time. What a
component raises that is no `EgcfgError`, or answers that does not fit the question, becomes a
`PluginError`.
"""

from __future__ import annotations

import inspect
import logging
import resource
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing
from types import coroutine
from typing import Any, TypeVar

from attrs import define, field

from egcfg.errors import EgcfgError, PluginError, summarize
from egcfg.plugins.hookspecs import Kind
from egcfg.threads.worker_thread import WorkerThread

__all__ = ["OpenComponent"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

SLOW_STEP_S = 1.0
"""A coroutine that keeps the event loop for longer keeps every other task waiting."""


@define(eq=False)
class OpenComponent:
    """A component in use.

    Attributes:
        kind: which interface it implements.
        instance: the object itself.
        title: how it and its distribution are named in messages.
    """

    kind: Kind
    instance: Any
    title: str
    _worker: WorkerThread | None = field(default=None, init=False, repr=False)
    _slow_is_told: bool = field(default=False, init=False, repr=False)

    async def call(self, method: str, *arguments: Any, task: str = "") -> Any:
        """Call a method of the component and return what it answers.

        Args:
            method: its name.
            arguments: what it is given.
            task: the task that it works for, for messages.

        Raises:
            EgcfgError: whatever the component itself raises of these.
            PluginError: it raised anything else.
        """
        try:
            function = getattr(self.instance, method)
            if inspect.iscoroutinefunction(function):
                return await self._on_the_loop(method, function(*arguments))
            answer = await self._in_the_worker(function, *arguments)
            if inspect.isawaitable(answer):  # from a plain method that hands a coroutine on
                return await self._on_the_loop(method, answer)
        except EgcfgError:
            raise
        except (Exception, SystemExit) as error:  # a plugin's code may raise anything
            raise self.broken(f"{method} raised {summarize(error)}", task) from error
        else:
            return answer

    async def iterate(
        self, method: str, *arguments: Any, task: str = ""
    ) -> AsyncGenerator[Any, None]:
        """Yield what an asynchronous generator of the component yields; otherwise as `call`."""
        try:
            async with aclosing(getattr(self.instance, method)(*arguments)) as items:
                async for item in items:
                    yield item
        except EgcfgError:
            raise
        except (Exception, SystemExit) as error:  # a plugin's code may raise anything
            raise self.broken(f"{method} raised {summarize(error)}", task) from error

    def ask(self, method: str, *arguments: Any, task: str = "") -> Any:
        """Call a method that only computes, right here; otherwise as `call`."""
        try:
            return getattr(self.instance, method)(*arguments)
        except EgcfgError:
            raise
        except (Exception, SystemExit) as error:  # a plugin's code may raise anything
            raise self.broken(f"{method} raised {summarize(error)}", task) from error

    def read(self, name: str, wanted: type[T]) -> T:
        """Return an attribute of the component, which must be of that type; otherwise as `call`."""
        try:
            value = getattr(self.instance, name)
        except EgcfgError:
            raise
        except (Exception, SystemExit) as error:  # a plugin's code may raise anything
            raise self.broken(f"{name} raised {summarize(error)}") from error
        if not isinstance(value, wanted):
            raise self.broken(f"{name} is {type(value).__name__}, not {wanted.__name__}")
        return value

    def broken(self, what: str, task: str = "") -> PluginError:
        """Return the error for a component that answered wrongly."""
        where = f" on task {task}" if task else ""
        return PluginError(f"{self.title} is broken{where}: {what}; report it to its authors")

    def close(self) -> None:
        """End the worker thread, after the call that it may be at."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    async def _in_the_worker(self, function: Callable[..., T], *arguments: Any) -> T:
        if self._worker is None:
            self._worker = WorkerThread(self.title)
        return await self._worker.run(function, *arguments)

    @coroutine
    def _on_the_loop(self, method: str, awaitable: Awaitable[T]) -> Generator[Any, Any, T]:
        """Run an awaitable, and time each step of it that the event loop waits for."""
        steps = awaitable.__await__()
        advance: Callable[..., Any] = steps.send
        sent: Any = None
        while True:
            started, preempted = time.monotonic(), _preemptions()
            worked = time.thread_time()
            try:
                waited_for = advance(sent)
            except StopIteration as stop:
                answer: T = stop.value
                return answer
            finally:
                seconds = time.monotonic() - started
                if seconds >= SLOW_STEP_S and _preemptions() != preempted:
                    # Others had the core meanwhile: only its own work counts against it.
                    seconds = time.thread_time() - worked
                self._check_step(method, seconds)
            try:
                advance, sent = steps.send, (yield waited_for)
            except BaseException as error:  # noqa: BLE001 - handed on, cancellation included
                advance, sent = steps.throw, error

    def _check_step(self, method: str, seconds: float) -> None:
        if seconds >= SLOW_STEP_S and not self._slow_is_told:
            self._slow_is_told = True
            logger.warning(
                "%s: the coroutine %s kept the event loop for %.1f s, and all other tasks with it; "
                "its authors should make it a plain method, which runs in a thread",
                self.title,
                method,
                seconds,
            )


def _preemptions() -> int:
    """Return how often this thread had to leave its core to others; 0 where nobody counts that."""
    if sys.platform != "linux":
        return 0
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
