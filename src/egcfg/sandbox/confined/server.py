"""The fork server: one warm process that has a supervisor for each request, and reaps.

Control messages are frames of JSON with descriptors attached:

- ``{"do": "run", "shape": ...}``, with what a `Shape` is made of, and with the execution's socket,
  and a channel to another execution if there is one;
- ``{"do": "load", "key": ...}`` with a descriptor to read an instrument's source from.

The request itself goes through the execution's socket, straight to the supervisor: the server, of
which every program's process is a fork, never holds anything of an execution.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
import types
from collections.abc import Callable

from . import confinement, frames, supervisor
from .layers import open_layers
from .spares import Spares
from .staging import Shape, Staged

__all__ = ["serve"]

# What solutions usually import: imported once here, so that no execution pays for it.
WARM = """
abc array asyncio bisect cmath collections contextlib copy dataclasses datetime decimal enum
fractions functools hashlib heapq inspect io itertools json linecache math operator queue random
re statistics string struct tempfile textwrap threading time traceback typing unicodedata
""".split()  # noqa: SIM905 - a paragraph, not 35 lines
MAX_DESCRIPTORS = 2
# How long supervisors wait for an execution that may never come.
IDLE_MILLISECONDS = 1000
# How long executions at work may keep others from being staged.
PATIENCE_MILLISECONDS = 20


class Server:
    """The server's state, which every supervisor inherits a copy of.

    Attributes:
        instruments: the loaded modules, by key.
        layers: the isolation layers that work here.
        spares: the supervisors that wait.
        scratch_root: the folder in which scratch folders are made.
    """

    def __init__(self, control: socket.socket, scratch_root: str) -> None:
        self.control = control
        self.instruments: dict[str, types.ModuleType] = {}
        self.scratch_root = scratch_root
        self.layers = open_layers()
        self.spares = Spares(self._fork, self._await_order)

    def loop(self) -> None:
        """Serve until the parent closes its end."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        while True:
            while self.spares.wanted and not self._order_waits():
                self.spares.add()
            if not poll.poll(IDLE_MILLISECONDS):
                self.spares.dismiss()
            message, descriptors = frames.receive_with_descriptors(self.control, MAX_DESCRIPTORS)
            if message is None:
                self.spares.end()
                return
            order = json.loads(message)
            try:
                if order["do"] == "run":
                    shape = Shape(**order["shape"], has_channel=len(descriptors) > 1)
                    self._run(shape, descriptors)
                else:
                    # Those that wait are forks from before.
                    self.spares.dismiss()
                    self._load(order["key"], descriptors[0])
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _order_waits(self) -> bool:
        """Return whether an order is there; leave the cores to executions at work for a moment."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        for descriptor in self.spares.busy:
            poll.register(descriptor, 0)
        while self.spares.busy:
            events = {descriptor for descriptor, _ in poll.poll(PATIENCE_MILLISECONDS)}
            for descriptor in events & self.spares.busy.keys():
                poll.unregister(descriptor)
                self.spares.busy.pop(descriptor).close()
            if not events or self.control.fileno() in events:
                break
        return bool(poll.poll(0))

    def _run(self, shape: Shape, descriptors: list[int]) -> None:
        def work() -> None:
            _supervise(descriptors, Staged(self, shape, ahead=False))

        if not self.spares.take(shape, descriptors):
            self._fork(work)

    def _await_order(self, orders: socket.socket, shape: Shape) -> None:
        staged = Staged(self, shape, ahead=True)
        supervisor.rehearse(staged)
        _, descriptors, _, _ = socket.recv_fds(orders, 1, MAX_DESCRIPTORS)
        if descriptors:
            # The socket stays open as long as this process is at work.
            _supervise(descriptors, staged)
        else:
            confinement.end_tree(staged.pid, staged.proc)

    def _fork(self, work: Callable[[], None]) -> int | None:
        """Do something in a fork; return its process id, None where there is no room for one."""
        try:
            pid = os.fork()
        except OSError:
            return None  # the parent sees the socket close, and tries again
        if pid:
            return pid
        status = 1
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.control.close()
            # Else those that wait would not see the server's end.
            self.spares.close()
            work()
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
            if hasattr(module, "rehearse"):
                module.rehearse()
            self.instruments[key] = module
        except Exception:  # noqa: BLE001 - executions that use it fail, and show this log
            traceback.print_exc()
        gc.freeze()


def _supervise(descriptors: list[int], staged: Staged) -> None:
    """Be the supervisor of a staged process; the descriptors are those of a request to run."""
    parent, *channels = (socket.socket(fileno=number) for number in descriptors)
    supervisor.supervise(parent, channels[0] if channels else None, staged)


def serve(control: int) -> None:
    """Warm up, say hello to the parent, and serve."""
    stream = socket.socket(fileno=control)
    message = frames.receive(stream)
    if message is None:
        return
    settings = json.loads(message)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in WARM:
        importlib.import_module(name)
    server = Server(stream, settings["scratch_root"])
    server.layers.enter(settings["tree_folder"], settings["disabled"])
    if server.layers.has("pid namespace") and server.layers.has("mount namespace"):
        # Without them one that waits would hold a folder that everybody sees.
        server.spares.count = len(os.sched_getaffinity(0))
    # The kernel reaps supervisors by itself; each sets this back for its own child.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    stream.sendall(frames.pack_json({"layers": server.layers.status}))
    # What exists now is never garbage: collecting it would only copy shared pages.
    gc.collect()
    gc.freeze()
    server.loop()
