"""The fork server: one warm process that stages programs' processes, and reaps them.

Control messages are frames of JSON:

- ``{"do": "stage", "count": ..., "ahead": ..., "shapes": [...]}``: stage `count` more. With one
  shape that is one process each, with two shapes two with a channel between them. Each is answered
  by one byte with the descriptors that `Staged.handed` lists: 0, or without any, the number of the
  error for which there is no room.
- ``{"do": "load", "key": ...}`` with a descriptor to read an instrument's source from.

The server, of which every program's process is a fork, never holds anything of an execution.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import traceback
import types
from typing import Any

from . import frames, interpreter, rehearsal
from .layers import Layers
from .packages import PackageFinder
from .staging import PROCESS_ID, Shape, Staged

# It looks functions up that other systems lack.
if sys.platform == "linux":
    from .linux_layers import LinuxLayers as SystemLayers
else:
    SystemLayers = Layers

__all__ = ["serve"]

# What solutions usually import: imported once here, so that no execution pays for it.
WARM = """
abc array bisect cmath collections contextlib copy dataclasses datetime decimal enum
fractions functools hashlib heapq inspect io itertools json linecache math operator queue random
re statistics string struct tempfile textwrap threading time traceback typing unicodedata
""".split()  # noqa: SIM905 - a paragraph, not 35 lines


class Server:
    """The server's state, which every program's process inherits a copy of.

    Attributes:
        control: the parent has its other end.
        instruments: the loaded modules, by key.
        layers: the isolation layers that work here.
        packages: finds what programs may import besides the standard library.
        recorded: a conversation, once there was one.
    """

    def __init__(self, control: socket.socket, packages: PackageFinder) -> None:
        self.control = control
        self.packages = packages
        self.instruments: dict[str, types.ModuleType] = {}
        self.layers = SystemLayers()
        self.recorded: rehearsal.Recorded | None = None
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._staged: dict[int, Staged] = {}  # by leash

    def greet(self) -> None:
        """Tell the parent that all is ready, and what there is.

        The message is this process's id, then a frame of the layers' status, of the scratch root,
        of how many processes may wait ahead, and whether killing a program's process ends
        everything that it started and leaves no file: with seccomp it started nothing but threads.
        """
        mounted = self.layers.scratch_root is None
        # One that waits is out of everybody's reach, and holds no folder that others see.
        apart = mounted and self.layers.has("pid namespace")
        hello = {
            "layers": self.layers.status,
            "scratch_root": self.layers.scratch_root,
            "spares": len(os.sched_getaffinity(0)) if apart else 0,
            "ends_at_once": mounted and self.layers.has("seccomp"),
        }
        self.control.sendall(PROCESS_ID.pack(os.getpid()) + frames.pack_json(hello))

    def loop(self) -> None:
        """Serve until the parent closes its end."""
        control = self.control.fileno()
        while True:
            # Orders first: an execution waits for them.
            for descriptor, event in sorted(
                self._poll.poll(), key=lambda event: event[0] != control
            ):
                if descriptor != control:
                    self._end(descriptor, listened=not event & select.POLLHUP)
                elif not self._take_order():
                    return

    def close(self) -> None:
        """End whatever is at work, and leave no file."""
        for leash in tuple(self._staged):
            self._end(leash, listened=False)
        if self.layers.scratch_root is not None:
            shutil.rmtree(self.layers.scratch_root, ignore_errors=True)

    def end_orphans(self) -> None:
        """End what programs that are gone have left running."""
        self.layers.end_orphans({staged.pid for staged in self._staged.values()})

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
        shapes = [Shape(**shape) for shape in order["shapes"]]
        for _ in range(order["count"]):
            self._stage(shapes, ahead=order["ahead"])
        return True

    def _stage(self, shapes: list[Shape], *, ahead: bool) -> None:
        """Stage one process, or two with a channel between them, and hand them over."""
        staged: list[Staged] = []
        failure = 0
        channels: tuple[socket.socket | None, ...] = (None,)
        try:
            if len(shapes) > 1:
                channels = socket.socketpair()
            for shape, channel in zip(shapes, channels, strict=True):
                staged.append(Staged(self, shape, channel, ahead=ahead))
        except OSError as error:
            failure = error.errno or errno.EAGAIN
        finally:
            for channel in channels:
                if channel is not None:
                    channel.close()
        handed = [] if failure else [descriptor for one in staged for descriptor in one.handed]
        with contextlib.suppress(OSError):  # the parent is gone: the next order says so
            socket.send_fds(self.control, [bytes([failure])], handed)
        for one in staged:
            for descriptor in one.handed:
                os.close(descriptor)
            self._poll.register(one.leash, select.POLLIN)
            self._staged[one.leash.fileno()] = one

    def _end(self, leash: int, *, listened: bool) -> None:
        """End a process, by the leash that it has."""
        self._poll.unregister(leash)
        self._staged.pop(leash).end(listened=listened)

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
    interpreter.prefer_fork()
    packages = PackageFinder(settings["packages"])
    sys.meta_path.append(packages)
    paths = [path for package in settings["packages"] for path in package["paths"]]
    server = Server(stream, packages)
    try:
        server.layers.enter(settings["temporary_folder"], settings["disabled"], paths)
        server.recorded = rehearsal.warm_up(packages)
        server.greet()
        # What exists now is never garbage: collecting it would only copy shared pages.
        gc.collect()
        gc.freeze()
        server.loop()
    finally:
        server.close()
