"""A program's process, forked ahead of its request: confined, it waits.

What takes longest (the fork, the namespaces, the scratch mount, the other layers) needs no program,
so it is done before one comes; a process ends by itself when none comes for a while. The parent
holds the other ends of all that the process reads from and writes to: it sends the request
directly, and receives the report directly. The server, from which the process was forked, never
sees a byte of either.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import signal
import socket
import struct
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

from . import confinement, devices, frames, interpreter, program, rehearsal
from .judge import run_judge

__all__ = ["PROCESS_ID", "Shape", "Staged"]

PROCESS_ID = struct.Struct(">I")
"""The first thing that a process says on its socket: its number, as it sees it itself."""
# How long a process waits for a request that may never come; and one that somebody waits for, who
# may be gone.
IDLE_MILLISECONDS = 1000
WANTED_MILLISECONDS = 5000


@dataclass(kw_only=True)
class Shape:
    """What must be known of an execution before its request.

    Attributes:
        role: "program", or "judge".
        cpu_seconds: processor time, as in its limits.
        memory_bytes: address space, as in its limits.
        file_bytes: size of any file it writes, as in its limits.
        has_stdin: whether there is something on its standard input.
        instrument: key of its instrument; None without one.
        instrument_options: for its constructor.
        instrument_bytes: size of its memory.
    """

    role: str
    cpu_seconds: float
    memory_bytes: int
    file_bytes: int
    has_stdin: bool
    instrument: str | None
    instrument_options: dict[str, Any]
    instrument_bytes: int


class Staged:
    """A process that waits for its request, as the server holds it.

    One that has waited for too long shuts its leash down and ends by itself.

    Attributes:
        pid: its process id.
        leash: a socket to the parent: the order to end is received here, and the account of the end
            is sent here.
        handed: the descriptors for the parent: the socket for the request, the leash's other end,
            pipes to read standard output, standard error and the report from; then a file for
            standard input and the instrument's memory, if its shape has them.
    """

    def __init__(
        self, server: Any, shape: Shape, channel: socket.socket | None, *, ahead: bool
    ) -> None:
        """Fork the process.

        Args:
            server: the server.
            shape: of its execution.
            channel: to another execution.
            ahead: whether its request is still to come, so that there is time to rehearse.

        Raises:
            OSError: there is no room for one.
        """
        self._server = server
        self._shape = shape
        self._channel = channel
        self.handed: list[int] = []
        self._kept: list[int] = []
        theirs, self.leash = socket.socketpair()
        try:
            self._open(theirs)
            self._scratch = confinement.make_scratch(server.layers)
        except OSError:
            self.close()
            raise
        try:
            self.pid = server.layers.fork_apart()
        except OSError:
            self.close()
            self._scratch.remove()
            raise
        if self.pid == 0:
            self._be(ahead=ahead)
        for descriptor in self._kept:
            os.close(descriptor)
        self._kept = []

    def end(self, *, listened: bool) -> None:
        """End the process, and remove its folder.

        Args:
            listened: whether the parent still waits for the account of its end.
        """
        status, usage = confinement.end_process(self.pid)
        self._server.end_orphans()
        self._scratch.remove()
        if listened:
            end = {"status": status, "cpu_seconds": usage.ru_utime + usage.ru_stime}
            with contextlib.suppress(OSError):  # the parent has closed its end
                self.leash.sendall(frames.pack_json(end))
        self.leash.close()

    def close(self) -> None:
        """Close all of its descriptors that are open here."""
        for descriptor in (*self.handed, *self._kept):
            os.close(descriptor)
        self.handed, self._kept = [], []
        self.leash.close()

    def _open(self, leash: socket.socket) -> None:
        """Open both ends of every socket, pipe and file of the process."""
        ours, theirs = socket.socketpair()
        if sys.platform == "linux":
            # Process ids are told as the receiver sees them.
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.handed = [ours.detach(), leash.detach()]
        self._kept = [theirs.detach()]
        for _ in range(3):
            reader, writer = os.pipe()
            self.handed.append(reader)
            self._kept.append(writer)
            os.set_blocking(reader, False)
        self._orders, *self._writers = self._kept
        if self._shape.has_stdin:
            self._stdin = _nameless_file("stdin")
            self.handed.append(self._stdin)
        else:
            self._stdin = os.open(os.devnull, os.O_RDONLY)
            self._kept.append(self._stdin)
        self._memory = -1
        if self._shape.instrument_bytes:
            self._memory = _nameless_file("memory")
            self.handed.append(self._memory)
            os.ftruncate(self._memory, self._shape.instrument_bytes)

    def _be(self, *, ahead: bool) -> None:
        """Be the process that was forked; never returns."""
        status = 1
        try:
            self._wait(ahead=ahead)
            status = 0
        except BaseException as error:  # noqa: BLE001 - the last frame of this process
            os.write(2, f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace"))
        finally:
            os._exit(status)

    def _wait(self, *, ahead: bool) -> None:
        """Get ready, wait for the request, and do what it says."""
        os.setsid()
        orders = socket.socket(fileno=self._orders)
        orders.sendall(PROCESS_ID.pack(os.getpid()))
        stdout, stderr, report = self._writers
        for source, target in ((self._stdin, 0), (stdout, 1), (stderr, 2)):
            os.dup2(source, target)
        program.prepare()
        if ahead:
            self._rehearse()
        instrument, failure = self._instrument()
        kept = {0, 1, 2, report, orders.fileno(), self.leash.fileno()}
        if self._channel is not None:
            kept.add(self._channel.fileno())
        poll = select.poll()
        poll.register(orders, select.POLLIN)
        confinement.confine(self._server.layers, self._scratch, self._shape, kept)
        file = interpreter.enter(self._scratch.path)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if not poll.poll(IDLE_MILLISECONDS if ahead else WANTED_MILLISECONDS):
            self.leash.shutdown(socket.SHUT_RDWR)
            return
        self.leash.close()
        body = frames.receive(orders)
        orders.close()
        if body is None:
            return
        if failure is not None:
            raise failure
        request = json.loads(body)
        if self._shape.role == "judge" and self._channel is not None:
            run_judge(request, report, self._channel)
        else:
            interpreter.place(request["source"], file, self._scratch.path)
            devices.open_streams_by_path(request["source"])
            program.run(request, report, self._channel, instrument, self._server.packages)

    def _rehearse(self) -> None:
        recorded = self._server.recorded
        if self._shape.role == "judge":
            rehearsal.rehearse_judge(recorded)
            return
        rehearsal.rehearse(self._server.packages, recorded if self._channel is not None else None)
        instrument = self._server.instruments.get(self._shape.instrument)
        if hasattr(instrument, "rehearse"):
            instrument.rehearse()

    def _instrument(self) -> tuple[Any, Exception | None]:
        """Return the instrument, or why there is none: that is for the execution to tell."""
        shape = self._shape
        if shape.instrument is None:
            return None, None
        memory = mmap.mmap(self._memory, shape.instrument_bytes)
        try:
            module = self._server.instruments[shape.instrument]
            return module.Instrument(shape.instrument_options, memoryview(memory)), None
        except Exception as error:  # noqa: BLE001 - any of its errors
            return None, error


def _nameless_file(name: str) -> int:
    """Return a descriptor of an empty file that is in no folder."""
    if sys.platform == "linux":
        descriptor = os.memfd_create(name)
    else:
        descriptor, path = tempfile.mkstemp()
        os.unlink(path)
    return descriptor
