"""What a process that waits for a program is to this one: descriptors, and a number."""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
import sys
from typing import Any

from egcfg.sandbox.confined import frames
from egcfg.sandbox.confined.staging import PROCESS_ID

__all__ = ["MOST_DESCRIPTORS", "ProgramProcess", "receive_process_id"]

MOST_DESCRIPTORS = 7
"""The most that lead to one process."""
SEND_SECONDS = 30.0


class ProgramProcess:
    """A process that waits for its program; see `egcfg.sandbox.confined.staging.Staged`.

    Attributes:
        stdout, stderr, report: descriptors of what it writes, which do not block.
        leash: the order to end goes there, and how it ended comes from there.
        pid: its process id here, once it was started.
    """

    def __init__(self, shape: dict[str, Any], descriptors: list[int]) -> None:
        """Take the descriptors of a process of a shape from the start of a list."""
        # Told what they are, they do not have to ask.
        kind = (socket.AF_UNIX, socket.SOCK_STREAM, 0)
        self._orders = socket.socket(*kind, fileno=descriptors.pop(0))
        self.leash = socket.socket(*kind, fileno=descriptors.pop(0))
        self.stdout, self.stderr, self.report = (descriptors.pop(0) for _ in range(3))
        self._stdin = descriptors.pop(0) if shape["has_stdin"] else None
        self._memory = descriptors.pop(0) if shape["instrument_bytes"] else None
        self.pid = 0

    def start(self, request: dict[str, Any]) -> None:
        """Hand the request over.

        Raises:
            OSError: the process is gone.
        """
        self._orders.settimeout(SEND_SECONDS)
        self.pid = receive_process_id(self._orders)
        if self._stdin is not None:
            with open(self._stdin, "wb", closefd=False) as file:
                file.write(request["stdin"].encode("utf-8", "surrogatepass"))
            # The process reads through the same open file.
            os.lseek(self._stdin, 0, os.SEEK_SET)
        self._orders.sendall(frames.pack_json(request))

    def kill(self) -> None:
        """Kill the process, which must not have been told to end before: it is not reaped then."""
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
        with contextlib.suppress(OSError):  # no data behind the offset
            while end < size:
                start = os.lseek(self._memory, end, os.SEEK_DATA)
                end = os.lseek(self._memory, start, os.SEEK_HOLE)
        return os.pread(self._memory, end, 0).rstrip(b"\0")

    def close(self) -> None:
        """Have the process ended, and close all that leads to it."""
        self.end()
        self._orders.close()
        self.leash.close()
        for descriptor in (self.stdout, self.stderr, self.report, self._stdin, self._memory):
            if descriptor is not None:
                os.close(descriptor)


def receive_process_id(stream: socket.socket) -> int:
    """Return the id that the process at the other end of a socket says first.

    A process in another pid namespace has another id there; the kernel tells the one here, if the
    socket has SO_PASSCRED set.

    Raises:
        OSError: the process is gone.
    """
    room = socket.CMSG_SPACE(3 * array.array("i").itemsize)
    data, ancillary, _, _ = stream.recvmsg(PROCESS_ID.size, room)
    if len(data) < PROCESS_ID.size:
        raise ConnectionResetError("a process is gone before it has said its id")
    if sys.platform == "linux":
        for level, kind, credentials in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                return array.array("i", credentials)[0]
    (pid,) = PROCESS_ID.unpack(data)
    return int(pid)
