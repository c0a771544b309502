"""A staged process as the parent holds it: its descriptors and its id."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import select
import signal
import socket
import sys
from typing import Any

from egcfg.sandbox.confined import frames
from egcfg.sandbox.confined.staging import PROCESS_ID

__all__ = ["MOST_DESCRIPTORS", "ProgramProcess", "has_data", "receive_process_id", "wait_for_data"]

MOST_DESCRIPTORS = 7
"""The most descriptors that belong to one process."""
SEND_SECONDS = 30.0


class ProgramProcess:
    """A process that waits for its program; see `egcfg.sandbox.confined.staging.Staged`.

    Attributes:
        stdout, stderr, report: descriptors to read what it writes; they do not block.
        leash: the order to end is sent here, and the account of its end is received here.
    """

    def __init__(self, shape: dict[str, Any], descriptors: list[int]) -> None:
        """Take the descriptors of a process of a shape from the start of a list."""
        # With kind and protocol given, Python does not ask the kernel for them.
        kind = (socket.AF_UNIX, socket.SOCK_STREAM, 0)
        self._orders = socket.socket(*kind, fileno=descriptors.pop(0))
        self._orders.setblocking(False)
        self.leash = socket.socket(*kind, fileno=descriptors.pop(0))
        self.stdout, self.stderr, self.report = (descriptors.pop(0) for _ in range(3))
        self._stdin = descriptors.pop(0) if shape["has_stdin"] else None
        self._memory = descriptors.pop(0) if shape["instrument_bytes"] else None
        self._pid = 0

    @property
    def pid(self) -> int:
        """Its process id, as this process sees it; 0 until it has sent that, once it runs."""
        if not self._pid:
            self._receive_pid()
        return self._pid

    async def start(self, request: dict[str, Any]) -> None:
        """Send the request.

        Raises:
            OSError: the process is gone, or does not take it in time.
        """
        if self._stdin is not None:
            with open(self._stdin, "wb", closefd=False) as file:
                file.write(request["stdin"].encode("utf-8", "surrogatepass"))
            # The process reads through the same open file.
            os.lseek(self._stdin, 0, os.SEEK_SET)
        frame = frames.pack_json(request)
        sent = self._orders.send(frame)
        if sent < len(frame):
            async with asyncio.timeout(SEND_SECONDS):
                await asyncio.get_running_loop().sock_sendall(self._orders, frame[sent:])
        # While the program starts there is time for that.
        self._receive_pid()

    @property
    def is_gone(self) -> bool:
        """Whether it has waited too long for its program, and ended."""
        return has_data(self.leash)

    def _receive_pid(self) -> None:
        with contextlib.suppress(OSError):  # not yet, or never
            self._pid = receive_process_id(self._orders)

    def kill(self) -> None:
        """Kill the process, before `end` only: its id is still its own then."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """Have the process ended, with everything that it started."""
        with contextlib.suppress(OSError):  # it is over anyway
            # Not just closed: after a fork of this process, that would have no effect.
            self.leash.shutdown(socket.SHUT_WR)

    def used_memory(self) -> bytes:
        """Return the instrument's memory without its trailing zeros."""
        if self._memory is None:
            return b""
        end = 0
        size = os.fstat(self._memory).st_size
        with contextlib.suppress(OSError):  # no data after the offset
            while end < size:
                start = os.lseek(self._memory, end, os.SEEK_DATA)
                end = os.lseek(self._memory, start, os.SEEK_HOLE)
        return os.pread(self._memory, end, 0).rstrip(b"\0")

    def close(self) -> None:
        """Have the process ended, and close its descriptors."""
        self.end()
        self._orders.close()
        self.leash.close()
        for descriptor in (self.stdout, self.stderr, self.report, self._stdin, self._memory):
            if descriptor is not None:
                os.close(descriptor)


def receive_process_id(stream: socket.socket) -> int:
    """Return the id that the process at the other end of a socket sends first.

    A process in another pid namespace has another id there; the kernel adds the one that is valid
    here, if the socket has SO_PASSCRED set.

    Raises:
        OSError: the process is gone.
    """
    room = socket.CMSG_SPACE(3 * array.array("i").itemsize)
    data, ancillary, _, _ = stream.recvmsg(PROCESS_ID.size, room)
    if len(data) < PROCESS_ID.size:
        raise ConnectionResetError("a process is gone before it has sent its id")
    if sys.platform == "linux":
        for level, kind, credentials in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                return array.array("i", credentials)[0]
    (pid,) = PROCESS_ID.unpack(data)
    return int(pid)


def has_data(stream: socket.socket) -> bool:
    """Return whether a read would return at once: with data, or because the other end is closed."""
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    return bool(poll.poll(0))


async def wait_for_data(stream: socket.socket, seconds: float) -> None:
    """Wait until `has_data` is true.

    Raises:
        TimeoutError: it is not within so many seconds.
    """
    if has_data(stream):
        return
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    # A copy, so that the loop never watches a descriptor that was closed meanwhile.
    copy = os.dup(stream.fileno())
    loop.add_reader(copy, arrived.set)
    try:
        async with asyncio.timeout(seconds):
            await arrived.wait()
    finally:
        loop.remove_reader(copy)
        os.close(copy)
