"""Processes staged ahead of their programs, so that a program need not wait for one.

Whoever decodes or judges runs programs alike, one after another. So for each process that is taken
the server is asked for another one of the same shape; it comes while the caller is busy elsewhere.
Those that are not taken within a second end by themselves (`egcfg.sandbox.confined.staging`).
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any

from egcfg.sandbox.processes import ProgramProcess, has_data
from egcfg.sandbox.server_process import ServerProcess, Shapes

__all__ = ["Pool"]


class Pool:
    """The processes of one server that have no program yet.

    Attributes:
        server: the server.
    """

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self._shapes: Shapes = []  # of the latest request
        # The shapes of each answer that was asked for and not taken. Answers wait in the control
        # socket, the oldest first.
        self._asked: deque[Shapes] = deque()

    async def take(self, requests: Sequence[dict[str, Any]]) -> list[ProgramProcess]:
        """Return processes that wait for these requests, with a channel between them if two.

        One call at a time. A call that is cancelled leaves what it asked for to the next one.

        Args:
            requests: one, or two that are to talk to each other.

        Raises:
            OSError: the server is gone, or has no room.
        """
        shapes = [self._shape(request) for request in requests]
        if shapes != self._shapes:
            self._shapes = shapes
        while True:
            while self._asked and self._asked[0] is not self._shapes:
                for process in await self._receive():
                    process.close()
            if not self._asked:
                self._ask(1, ahead=False)
            if not has_data(self.server.control):
                # There is a time to wait, so the cores are not needed otherwise.
                self._ask(self.server.spares - (len(self._asked) - 1), ahead=True)
            processes = await self._receive()
            if not any(process.is_gone for process in processes):
                return processes
            for process in processes:
                process.close()

    def replenish(self) -> None:
        """Have as many processes wait as should; best asked when they are least in the way."""
        if self.server.alive:
            waiting = sum(shapes is self._shapes for shapes in self._asked)
            with contextlib.suppress(OSError):  # it is gone: the next one to take will see
                self._ask(self.server.spares - waiting, ahead=True)

    def _ask(self, count: int, *, ahead: bool) -> None:
        """Ask for processes of the present shapes."""
        if count > 0:
            self.server.stage(self._shapes, count, ahead=ahead)
            self._asked.extend([self._shapes] * count)

    async def _receive(self) -> list[ProgramProcess]:
        """Return the processes that were asked for first."""
        await self.server.wait()
        return self.server.receive(self._asked.popleft())

    def _shape(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return what the server must know of an execution ahead of its request."""
        limits, instrument = request["limits"], request["instrument"]
        return {
            "role": request["role"],
            "cpu_seconds": limits["cpu_seconds"],
            "memory_bytes": limits["memory_bytes"],
            "file_bytes": limits["file_bytes"],
            "has_stdin": bool(request["stdin"]),
            "instrument": self.server.load(instrument["path"]) if instrument else None,
            "instrument_options": instrument["options"] if instrument else {},
            "instrument_bytes": instrument["memory_bytes"] if instrument else 0,
        }
