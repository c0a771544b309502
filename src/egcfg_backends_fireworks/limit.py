"""How many requests may be in flight: fewer when the service pushes back, more as it recovers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from attrs import define, field

__all__ = ["AdaptiveLimit"]


@define
class AdaptiveLimit:
    """Additive increase, multiplicative decrease, for all requests to one endpoint together.

    Belongs to one event loop, on which all tasks ask; whoever comes first is served first.

    Attributes:
        most: requests in flight at most.
        sleep: waits.
        clock: tells seconds.
    """

    most: int
    sleep: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    _limit: float = field(init=False)  # the fraction is the way to one more
    _in_flight: int = field(default=0, init=False)
    _halvings: int = field(default=0, init=False)
    _not_before: float = field(default=float("-inf"), init=False)
    _first: asyncio.Lock = field(factory=asyncio.Lock, init=False, repr=False)
    _place_free: asyncio.Event = field(factory=asyncio.Event, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._limit = float(self.most)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Wait until one more request may be sent, and hold its place.

        Yields:
            when it is sent, for `pushed_back`: after how many halvings of the limit.
        """
        async with self._first:  # the others wait behind it, in their order
            while True:
                if (wait := self._not_before - self.clock()) > 0:
                    await self.sleep(wait)
                elif self._in_flight >= int(self._limit):
                    self._place_free.clear()
                    await self._place_free.wait()
                else:
                    break
            self._in_flight += 1
        try:
            yield self._halvings
        finally:
            self._in_flight -= 1
            self._place_free.set()

    def answered(self) -> None:
        """Note that the service kept up: one more request per round of answers."""
        self._limit = min(self._limit + 1.0 / self._limit, float(self.most))

    def pushed_back(self, sent: int, wait: float) -> None:
        """Note that the service was overloaded: half as many, and none for `wait` seconds.

        Args:
            sent: what `slot` gave. The limit is halved once for all requests that were in flight
                together: those sent before it was halved tell nothing of what is sent since.
            wait: seconds.
        """
        if sent == self._halvings:
            self._limit = max(1.0, self._limit / 2.0)
            self._halvings += 1
        self._not_before = max(self._not_before, self.clock() + wait)
