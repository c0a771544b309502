"""The program's process, forked ahead of its request: it waits, and is confined once it has it.

What takes longest (the forks, the namespaces, the scratch mount) needs no program, so it can be
done before one comes. The process stays outside the other layers until then: it runs our code only.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
import signal
import socket
from typing import Any

from . import confinement, frames, program
from .judge import run_judge

__all__ = ["Shape", "Staged"]

MAX_DESCRIPTORS = 2


class Shape:
    """What must be known of an execution before its request.

    Attributes:
        file_bytes: size of any file it writes.
        memory_bytes: size of its instrument's memory; 0 without an instrument.
        instrument: key of its instrument; None without one.
    """

    def __init__(self, file_bytes: int, memory_bytes: int, instrument: str | None) -> None:
        self.file_bytes = file_bytes
        self.memory_bytes = memory_bytes
        self.instrument = instrument

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shape) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # never a key


class Staged:
    """A process that waits for its request.

    Attributes:
        pid: its process id, as its supervisor sees it.
        memory: what it shares with its supervisor, for an instrument; None without one.
        scratch: its scratch folder.
        proc: descriptor of /proc; None where there is none.
        stdout, stderr, report: descriptors to read what it writes from.
    """

    def __init__(self, server: Any, shape: Shape) -> None:
        """Fork the process; the caller's own namespaces change."""
        self.memory = mmap.mmap(-1, shape.memory_bytes) if shape.memory_bytes else None
        self.scratch = confinement.prepare(server.layers, server.scratch_root, shape.file_bytes)
        pipes = [os.pipe() for _ in range(3)]
        writers = [writer for _, writer in pipes]
        self._orders, theirs = socket.socketpair()
        self.proc: int | None = server.layers.proc
        self.pid = os.fork()
        if self.pid == 0:
            # Else it would not see its supervisor's death.
            self._orders.close()
            self._wait(theirs, writers, server, server.instruments.get(shape.instrument))
        theirs.close()
        for writer in writers:
            os.close(writer)
        self.stdout, self.stderr, self.report = (reader for reader, _ in pipes)

    def start(self, body: bytes, stdin: int, channel: socket.socket | None) -> None:
        """Hand the request over, and close what came with it.

        Raises:
            OSError: the process is gone.
        """
        descriptors = [stdin] if channel is None else [stdin, channel.fileno()]
        socket.send_fds(self._orders, [b"\0"], descriptors)
        frames.send(self._orders, body)
        self._orders.close()
        os.close(stdin)
        if channel is not None:
            channel.close()

    def remove_scratch(self) -> None:
        """Remove the scratch folder, where it is no mount that ends with its processes."""
        if self.scratch.temporary:
            shutil.rmtree(self.scratch.path, ignore_errors=True)

    def _wait(
        self, orders: socket.socket, writers: list[int], server: Any, instrument: Any
    ) -> None:
        """Be the program's process; never returns."""
        status = 1
        try:
            os.setsid()
            if hasattr(instrument, "rehearse"):
                instrument.rehearse()
            _, descriptors, _, _ = socket.recv_fds(orders, 1, MAX_DESCRIPTORS)
            body = frames.receive(orders)
            if body is not None:
                self._run(json.loads(body), descriptors, writers, server)
            status = 0
        except BaseException as error:  # noqa: BLE001 - the last frame of this process
            os.write(2, f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace"))
        finally:
            os._exit(status)

    def _run(
        self, request: dict[str, Any], descriptors: list[int], writers: list[int], server: Any
    ) -> None:
        stdin, *channels = descriptors
        stdout, stderr, report = writers
        for source, target in ((stdin, 0), (stdout, 1), (stderr, 2)):
            os.dup2(source, target)
        channel = socket.socket(fileno=channels[0]) if channels else None
        instrument = None
        if request["instrument"] is not None and self.memory is not None:
            module = server.instruments[request["instrument"]["key"]]
            options = request["instrument"]["options"]
            instrument = module.Instrument(options, memoryview(self.memory))
        kept = {0, 1, 2, report, *channels}
        confinement.confine(server.layers, self.scratch, request["limits"], kept)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if request["role"] == "judge" and channel is not None:
            run_judge(request, report, channel)
        else:
            program.run(request, report, channel, instrument)
