"""The fork server: one warm process that forks a supervisor for each request, and reaps.

Control messages are single datagrams of JSON with descriptors attached:

- ``{"do": "run"}`` with the execution's socket, and a channel to another execution if there is one;
- ``{"do": "load", "key": ...}`` with a descriptor to read an instrument's source from.

The request itself goes through the execution's socket, straight to the supervisor: the server, of
which every program's process is a fork, never holds anything of an execution.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
import traceback
import types

from . import supervisor
from .layers import Layers

__all__ = ["serve"]

# What solutions usually import: imported once here, so that no execution pays for it.
WARM = """
abc array asyncio bisect cmath collections contextlib copy dataclasses datetime decimal enum
fractions functools hashlib heapq inspect io itertools json linecache math operator queue random
re statistics string struct tempfile textwrap threading time traceback typing unicodedata
""".split()  # noqa: SIM905 - a paragraph, not 35 lines
MESSAGE_BYTES = 1 << 16
MAX_DESCRIPTORS = 2


class Server:
    """The server's state, which every supervisor inherits a copy of.

    Attributes:
        instruments: the ``Instrument`` class of each loaded module, by key.
        layers: the isolation layers that work here.
        scratch_root: the folder in which scratch folders are made.
    """

    def __init__(self, control: socket.socket, scratch_root: str) -> None:
        self.control = control
        self.instruments: dict[str, type] = {}
        self.scratch_root = scratch_root
        self.layers = Layers()

    def loop(self) -> None:
        """Serve until the parent closes its end."""
        while True:
            message, descriptors, _, _ = socket.recv_fds(
                self.control, MESSAGE_BYTES, MAX_DESCRIPTORS
            )
            if not message:
                return
            order = json.loads(message)
            try:
                if order["do"] == "run":
                    self._fork(descriptors)
                else:
                    self._load(order["key"], descriptors[0])
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _fork(self, descriptors: list[int]) -> None:
        try:
            pid = os.fork()
        except OSError:
            return  # the parent sees the socket close, and tries again
        if pid:
            return
        status = 1
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.control.close()
            parent = socket.socket(fileno=os.dup(descriptors[0]))
            channel = socket.socket(fileno=os.dup(descriptors[1])) if descriptors[1:] else None
            for descriptor in descriptors:
                os.close(descriptor)
            supervisor.supervise(parent, channel, self)
            status = 0
        except BaseException:  # noqa: BLE001 - the last frame of this process
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)

    def _load(self, key: str, descriptor: int) -> None:
        with open(os.dup(descriptor), encoding="utf-8") as file:
            source = file.read()
        path = key.rpartition(":")[0]
        module = types.ModuleType(f"egcfg_instrument_{len(self.instruments)}")
        module.__file__ = path
        sys.modules[module.__name__] = module
        try:
            exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
            self.instruments[key] = module.Instrument
        except Exception:  # noqa: BLE001 - executions that use it fail, and show this log
            traceback.print_exc()
        gc.freeze()


def serve(control: int) -> None:
    """Warm up, say hello to the parent, and serve."""
    stream = socket.socket(fileno=control)
    settings = json.loads(stream.recv(MESSAGE_BYTES))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in WARM:
        importlib.import_module(name)
    server = Server(stream, settings["scratch_root"])
    server.layers.enter(settings["tree_folder"], settings["disabled"])
    # The kernel reaps supervisors by itself; each sets this back for its own child.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    stream.send(json.dumps({"layers": server.layers.status}).encode())
    # What exists now is never garbage: collecting it would only copy shared pages.
    gc.collect()
    gc.freeze()
    server.loop()
