"""Supervisors that wait for an execution with its process staged, so that it starts at once.

They are of the shape of the last execution, and few; an idle server dismisses them.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable

from .staging import Shape

__all__ = ["Spares"]

Serve = Callable[[socket.socket, Shape], None]


class Spares:
    """The waiting supervisors of a server.

    Attributes:
        count: how many to keep; none at first.
        busy: by descriptor, the other ends of the sockets through which supervisors at work got
            their orders; each closes when its supervisor is gone.

    Args:
        fork: forks one: called with what to run there, returns its process id.
        serve: runs in a spare, with the socket its order comes through.
    """

    def __init__(self, fork: Callable[[Callable[[], None]], int | None], serve: Serve) -> None:
        self.count = 0
        self._fork = fork
        self._serve = serve
        self._shape: Shape | None = None
        self._waiting: deque[tuple[int, socket.socket]] = deque()
        self.busy: dict[int, socket.socket] = {}

    @property
    def wanted(self) -> bool:
        """Whether another one is to be added."""
        return self._shape is not None and len(self._waiting) < self.count

    def take(self, shape: Shape, descriptors: list[int]) -> bool:
        """Hand an execution to a waiting supervisor; False where none of its shape is left."""
        if shape != self._shape:
            self.dismiss()
            self._shape = shape
        while self._waiting:
            _, orders = self._waiting.popleft()
            try:
                socket.send_fds(orders, [b"\0"], descriptors)
            except OSError:  # it died: the next one
                orders.close()
            else:
                self.busy[orders.fileno()] = orders
                return True
        return False

    def add(self) -> None:
        """Fork another one."""
        shape = self._shape
        if shape is None:
            return
        ours, theirs = socket.socketpair()

        def wait() -> None:
            ours.close()  # else it would not see the server's end
            self._serve(theirs, shape)

        with theirs:
            pid = self._fork(wait)
        if pid is None:
            ours.close()
            self._shape = None  # no room for spares: try again with the next execution
        else:
            self._waiting.append((pid, ours))

    def dismiss(self) -> list[int]:
        """End all, and keep none until the next execution; return their process ids."""
        self._shape = None
        return self.close()

    def close(self) -> list[int]:
        """Close this process's ends of all sockets; return the process ids of those that wait."""
        while self.busy:
            self.busy.popitem()[1].close()
        pids = [pid for pid, _ in self._waiting]
        for _, orders in self._waiting:
            orders.close()
        self._waiting.clear()
        return pids

    def end(self) -> None:
        """End all, and wait until they are gone."""
        for pid in self.dismiss():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
