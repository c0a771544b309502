"""The fork server: one warm process that stages programs' processes ahead, and reaps them.

Control messages are frames of JSON:

- ``{"do": "stage", "taken": ..., "count": ..., "ahead": ..., "shapes": [...]}``: stage `count`
  more. With one shape that is one process each, with two shapes two with a channel between them.
  Each is answered by one byte (`STAGED` or `REFUSED`) with the descriptors that `Staged.handed`
  lists. `taken` counts the answers that the parent has read so far: what came with them waits no
  more.
- ``{"do": "load", "key": ...}`` with a descriptor to read an instrument's source from.

The server, of which every program's process is a fork, never holds anything of an execution.
"""

from __future__ import annotations

import contextlib
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
from collections import deque
from typing import Any

from . import confinement, frames, interpreter, keeper
from .packages import PackageFinder
from .staging import PROCESS_ID, REFUSED, STAGED, Shape, Staged

# Each looks functions up that other systems lack.
if sys.platform == "linux":
    from .linux_layers import LinuxLayers as SystemLayers
else:
    from .mac_layers import MacLayers as SystemLayers

__all__ = ["serve"]

# What solutions usually import: imported once here, so that no execution pays for it.
WARM = """
abc array bisect cmath collections contextlib copy dataclasses datetime decimal enum
fractions functools hashlib heapq inspect io itertools json linecache math operator queue random
re statistics string struct tempfile textwrap threading time traceback typing unicodedata
""".split()  # noqa: SIM905 - a paragraph, not 35 lines
# How long processes wait for an execution that may never come.
IDLE_MILLISECONDS = 1000


class Server:
    """The server's state, which every program's process inherits a copy of.

    Attributes:
        control: the parent has its other end.
        instruments: the loaded modules, by key.
        layers: the isolation layers that work here.
        scratch_root: the folder in which scratch folders are made.
        packages: finds what programs may import besides the standard library.
        direct: whether programs' processes are forked from this one, without a keeper.
    """

    def __init__(self, control: socket.socket, scratch_root: str, packages: PackageFinder) -> None:
        self.control = control
        self.packages = packages
        self.instruments: dict[str, types.ModuleType] = {}
        self.scratch_root = scratch_root
        self.layers = SystemLayers()
        self.direct = False
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._forked: dict[int, Staged] = {}  # by leash, those without a keeper
        self._asked = 0  # how many were ever asked for
        # Those that have no execution yet, each with its place among all that were asked for.
        self._waiting: deque[tuple[int, list[Staged]]] = deque()

    def greet(self) -> None:
        """Tell the parent that all is ready, and what there is.

        The message is this process's id, then a frame of the layers' status, of how many processes
        may wait ahead, and whether killing a program's process ends everything that it started and
        leaves no file: with seccomp it started nothing but threads.
        """
        self.direct = self.layers.has("pid namespace") and self.layers.has("mount namespace")
        if not self.direct:
            # The kernel reaps keepers by itself.
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        hello = {
            "layers": self.layers.status,
            # Without these layers one that waits would hold a folder that everybody sees.
            "spares": len(os.sched_getaffinity(0)) if self.direct else 0,
            "ends_at_once": self.direct and self.layers.has("seccomp"),
        }
        self.control.sendall(PROCESS_ID.pack(os.getpid()) + frames.pack_json(hello))

    def loop(self) -> None:
        """Serve until the parent closes its end; what is at work then ends with this process."""
        control = self.control.fileno()
        while True:
            events = self._poll.poll(IDLE_MILLISECONDS if self._waiting else None)
            if not events:
                self._dismiss()
            # Orders first: an execution waits for them.
            for descriptor, event in sorted(events, key=lambda event: event[0] != control):
                if descriptor != control:
                    self._end(self._forked[descriptor], told=not event & select.POLLHUP)
                elif not self._take_order():
                    return

    def _take_order(self) -> bool:
        """Do what the next message says; False where there is none any more."""
        try:
            message, descriptors = frames.receive_with_descriptors(self.control, 1)
        except ConnectionResetError:  # the parent is gone, with processes that it did not take
            return False
        if message is None:
            return False
        order = json.loads(message)
        try:
            if order["do"] == "load":
                self._load(order["key"], descriptors[0])
                return True
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        while self._waiting and self._waiting[0][0] <= order["taken"]:
            self._waiting.popleft()
        shapes = [Shape(**shape) for shape in order["shapes"]]
        for _ in range(order["count"]):
            self._stage(shapes, ahead=order["ahead"])
        return True

    def _stage(self, shapes: list[Shape], *, ahead: bool) -> None:
        """Stage one process, or two with a channel between them, and hand them over."""
        self._asked += 1
        channels: tuple[socket.socket | None, ...] = (None,)
        if len(shapes) > 1:
            channels = socket.socketpair()
        staged: list[Staged] = []
        try:
            for shape, channel in zip(shapes, channels, strict=True):
                staged.append(Staged(self, shape, channel, ahead=ahead))
        except OSError:
            pass
        finally:
            for channel in channels:
                if channel is not None:
                    channel.close()
        complete = len(staged) == len(shapes)
        handed = [descriptor for one in staged for descriptor in one.handed] if complete else []
        with contextlib.suppress(OSError):  # the parent is gone: the next order says so
            socket.send_fds(self.control, [STAGED if complete else REFUSED], handed)
        for one in staged:
            for descriptor in one.handed:
                os.close(descriptor)
            if self.direct:
                self._poll.register(one.leash, select.POLLIN)
                self._forked[one.leash.fileno()] = one
            else:
                one.leash.close()
        if self.direct and complete:
            self._waiting.append((self._asked, staged))

    def _end(self, staged: Staged, reason: str = "", *, told: bool = True) -> None:
        """End a process; tell the parent how it ended, if its end of the leash is open."""
        self._poll.unregister(staged.leash)
        del self._forked[staged.leash.fileno()]
        status, usage = confinement.end_process(staged.pid)
        if told:
            keeper.tell_end(staged.leash, reason, status, usage)
        staged.leash.close()

    def _dismiss(self) -> None:
        """End the processes that wait."""
        while self._waiting:
            for staged in self._waiting.popleft()[1]:
                if staged.leash.fileno() in self._forked:
                    self._end(staged, "dismissed")

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


def serve(control: int) -> None:
    """Warm up, say hello to the parent, and serve."""
    stream = socket.socket(fileno=control)
    message = frames.receive(stream)
    if message is None:
        return
    settings: dict[str, Any] = json.loads(message)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in WARM:
        importlib.import_module(name)
    interpreter.add_site_names()
    packages = PackageFinder(settings["packages"])
    sys.meta_path.append(packages)
    server = Server(stream, settings["scratch_root"], packages)
    paths = [path for package in settings["packages"] for path in package["paths"]]
    server.layers.enter(
        settings["tree_folder"], settings["scratch_root"], settings["disabled"], paths
    )
    server.greet()
    # What exists now is never garbage: collecting it would only copy shared pages.
    gc.collect()
    gc.freeze()
    server.loop()
