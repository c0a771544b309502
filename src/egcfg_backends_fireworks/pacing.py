"""How many requests may be in flight: fewer when the service pushes back, more as it recovers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from attrs import define, field

__all__ = ["Pace"]


@define
class Pace:
    """Additive increase, multiplicative decrease, for all questions to one endpoint together.

    Attributes:
        most: requests in flight at most.
        sleep: waits.
        clock: tells seconds.
        limit: requests that may be in flight now; the fraction is the way to one more.
    """

    most: int
    sleep: Callable[[float], Awaitable[None]] = field(repr=False)
    clock: Callable[[], float] = field(repr=False)
    limit: float = field(init=False)
    _busy: int = field(default=0, init=False)
    _not_before: float = field(default=float("-inf"), init=False)
    _freed: asyncio.Condition = field(factory=asyncio.Condition, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.limit = float(self.most)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait until one more request may be sent, and hold its place."""
        async with self._freed:
            await self._freed.wait_for(lambda: self._busy < int(self.limit))
            self._busy += 1
        try:
            while (wait := self._not_before - self.clock()) > 0:
                await self.sleep(wait)
            yield
        finally:
            self._busy -= 1
            async with self._freed:
                self._freed.notify_all()

    def answered(self) -> None:
        """Note that the service kept up: one more request per round of answers."""
        self.limit = min(float(self.most), self.limit + 1.0 / self.limit)

    def pushed_back(self, wait: float) -> None:
        """Note that the service was overloaded: half as many, and none for `wait` seconds."""
        self.limit = max(1.0, self.limit / 2.0)
        self._not_before = max(self._not_before, self.clock() + wait)
