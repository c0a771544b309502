"""The program's process, forked ahead of its request: confined, it waits.

What takes longest (the forks, the namespaces, the scratch mount, the other layers) needs no
program, so it is done before one comes. Only a process that is to get a channel must have that
before the last layers: no program can receive descriptors.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import confinement, frames, program
from .judge import run_judge

__all__ = ["Shape", "Staged"]


@dataclass(kw_only=True)
class Shape:
    """What must be known of an execution before its request.

    Attributes:
        cpu_seconds: processor time, as in its limits.
        memory_bytes: address space, as in its limits.
        file_bytes: size of any file it writes, as in its limits.
        has_stdin: whether there is something on its standard input.
        has_channel: whether it talks to another execution.
        instrument: key of its instrument; None without one.
        instrument_bytes: size of its instrument's memory.
    """

    cpu_seconds: float
    memory_bytes: int
    file_bytes: int
    has_stdin: bool
    has_channel: bool
    instrument: str | None
    instrument_bytes: int


class Staged:
    """A process that waits for its request.

    Attributes:
        pid: its process id, as its supervisor sees it.
        ends_at_once: whether killing it ends everything that it started, and leaves no file: with
            seccomp it started nothing but threads.
        memory: what it shares with its supervisor, for an instrument; None without one.
        memory_used: tells how many bytes of memory a process has, where that is to be watched.
        proc: descriptor of /proc; None where there is none.
        stdout, stderr, report: descriptors to read what it writes from.
    """

    def __init__(self, server: Any, shape: Shape, *, ahead: bool) -> None:
        """Fork the process; the caller's own namespaces change.

        Args:
            server: the server.
            shape: of its execution.
            ahead: whether its request is still to come, so that there is time to rehearse.
        """
        self._server = server
        self._shape = shape
        self._scratch = confinement.prepare(server.layers, server.scratch_root, shape.file_bytes)
        apart = all(server.layers.has(name) for name in ("pid namespace", "seccomp"))
        self.ends_at_once = apart and not self._scratch.temporary
        self.memory = mmap.mmap(-1, shape.instrument_bytes) if shape.instrument_bytes else None
        # What is on it is written when the request comes.
        self._stdin = _nameless_file() if shape.has_stdin else os.open(os.devnull, os.O_RDONLY)
        pipes = [os.pipe() for _ in range(3)]
        writers = [writer for _, writer in pipes]
        self._orders, theirs = socket.socketpair()
        self.memory_used: Callable[[int], int] | None = server.layers.memory_used
        self.proc: int | None = server.layers.proc
        self.pid = os.fork()
        if self.pid == 0:
            # Else it would not see its supervisor's death.
            self._orders.close()
            self._wait(theirs, writers, ahead=ahead)
        theirs.close()
        for writer in writers:
            os.close(writer)
        self.stdout, self.stderr, self.report = (reader for reader, _ in pipes)

    def start(self, body: bytes, stdin: str, channel: socket.socket | None) -> None:
        """Hand the request over, and close what came with it.

        A process that is gone is let be: what it left behind says why.
        """
        if stdin:
            with open(self._stdin, "wb", closefd=False) as file:
                file.write(stdin.encode("utf-8", "surrogatepass"))
            # The process reads through the same open file.
            os.lseek(self._stdin, 0, os.SEEK_SET)
        os.close(self._stdin)
        with contextlib.suppress(OSError):
            if channel is not None:
                socket.send_fds(self._orders, [b"\0"], [channel.fileno()])
            frames.send(self._orders, body)
        self._orders.close()
        if channel is not None:
            channel.close()

    def used_memory(self) -> bytes:
        """Return the shared memory without its trailing zeros."""
        if self.memory is None:
            return b""
        return self.memory[: self._server.layers.touched_bytes(self.memory)].rstrip(b"\0")

    def remove_scratch(self) -> None:
        """Remove the scratch folder, where it is no mount that ends with its processes."""
        if not self._scratch.temporary:
            return
        # A folder that the program has locked cannot be emptied by an ordinary user.
        with contextlib.suppress(OSError):
            os.chmod(self._scratch.path, 0o700)
            for folder, names, _ in os.walk(self._scratch.path):
                for path in (os.path.join(folder, name) for name in names):
                    if not os.path.islink(path):
                        os.chmod(path, 0o700)
        shutil.rmtree(self._scratch.path, ignore_errors=True)

    def _wait(self, orders: socket.socket, writers: list[int], *, ahead: bool) -> None:
        """Be the program's process; never returns."""
        status = 1
        try:
            os.setsid()
            stdout, stderr, report = writers
            for source, target in ((self._stdin, 0), (stdout, 1), (stderr, 2)):
                os.dup2(source, target)
            program.prepare()
            if ahead:
                self._rehearse()
            kept = {0, 1, 2, report, orders.fileno()}
            channel = None
            if self._shape.has_channel:
                _, descriptors, _, _ = socket.recv_fds(orders, 1, 1)
                channel = socket.socket(fileno=descriptors[0])
                kept.add(channel.fileno())
            confinement.confine(self._server.layers, self._scratch, self._shape, kept)
            body = frames.receive(orders)
            orders.close()
            if body is not None:
                self._run(json.loads(body), report, channel)
            status = 0
        except BaseException as error:  # noqa: BLE001 - the last frame of this process
            os.write(2, f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace"))
        finally:
            os._exit(status)

    def _rehearse(self) -> None:
        program.rehearse()
        instrument = self._server.instruments.get(self._shape.instrument)
        if hasattr(instrument, "rehearse"):
            instrument.rehearse()

    def _run(self, request: dict[str, Any], report: int, channel: socket.socket | None) -> None:
        instrument = None
        if request["instrument"] is not None and self.memory is not None:
            module = self._server.instruments[request["instrument"]["key"]]
            options = request["instrument"]["options"]
            instrument = module.Instrument(options, memoryview(self.memory))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if request["role"] == "judge" and channel is not None:
            run_judge(request, report, channel)
        else:
            program.run(request, report, channel, instrument)


def _nameless_file() -> int:
    """Return a descriptor of an empty file that is in no folder."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("stdin")
    else:
        descriptor, path = tempfile.mkstemp()
        os.unlink(path)
    return descriptor
