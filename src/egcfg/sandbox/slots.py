"""Slots for executions, shared fairly: whoever waits takes turns, however much each has to do."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Slots", "one_caller"]

_caller: ContextVar[object | None] = ContextVar("caller", default=None)


@contextmanager
def one_caller() -> Iterator[None]:
    """Let all that is run within, by tasks that start there, too, wait as one."""
    token = _caller.set(object())
    try:
        yield
    finally:
        _caller.reset(token)


class Slots:
    """A number of slots on one event loop; callers that wait are served in turn."""

    def __init__(self, number: int) -> None:
        self._free = number
        # In the order of their turns; of each caller what waits, first come first served.
        self._waiting: dict[object, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def one(self, caller: object) -> AsyncGenerator[None, None]:
        """Hold a slot, for the caller of `one_caller` if there is one, else for the given one."""
        if self._free:
            self._free -= 1
        else:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(_caller.get() or caller, deque()).append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():  # it had just been given a slot
                    self._pass_on()
                raise
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        """Give a slot that is free now to the next caller."""
        while self._waiting:
            caller = next(iter(self._waiting))
            turns = self._waiting.pop(caller)
            turn = turns.popleft()
            if turns:
                self._waiting[caller] = turns  # at the end
            if not turn.cancelled():
                turn.set_result(None)
                return
        self._free += 1
