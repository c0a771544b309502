"""The parent's handle on its fork server: starts it, takes staged processes from it, ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO, Any, Self

from attrs import asdict

from egcfg.errors import SandboxError
from egcfg.sandbox.confined import frames
from egcfg.sandbox.confined.staging import REFUSED
from egcfg.sandbox.packages import Package
from egcfg.sandbox.processes import (
    MOST_DESCRIPTORS,
    ProgramProcess,
    has_data,
    receive_process_id,
    wait_for_data,
)

__all__ = ["ServerProcess"]

CONFINED = Path(__file__).with_name("confined")
# Kept referenced: a Popen object that is dropped while its process runs warns.
_FOREIGN: list[subprocess.Popen[bytes]] = []
# For the server to start, to take an order, or to stage a process.
PATIENCE_SECONDS = 30.0
END_SECONDS = 5.0
SETTLE_SECONDS = 0.25
LOOK_SECONDS = 0.005
# Where the system has it: what other threads start must not inherit descriptors as they arrive.
CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
# No HOME, no key, nothing of the user's: clearing it in a fork would leave it in memory.
ENVIRONMENT = {
    "LANG": "C.UTF-8",
    # A thread per core would each reserve memory, and wait for the others on a busy machine.
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PATH": "/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "TZ": "UTC",
}

Shapes = list[dict[str, Any]]


class ServerProcess:
    """A running fork server.

    Attributes:
        layers: what the server found when it tried each isolation layer: name -> "active", or why
            it is not.
        pid: its process id.
        ends_at_once: whether killing a program's process ends everything that it started, and
            leaves no file.
    """

    def __init__(self) -> None:
        """Prepare a server; `start` returns one that is ready."""
        self.layers: dict[str, str] = {}
        self.pid = 0
        self.ends_at_once = False
        self._spares = 0
        self._scratch = tempfile.mkdtemp(prefix="egcfg-sandbox-")
        self._log: IO[bytes] = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115 - kept
        self._process: subprocess.Popen[bytes] | None = None
        self._control, self._theirs = socket.socketpair()
        self._control.settimeout(PATIENCE_SECONDS)
        self._usable = False  # not before it is ready, nor after a failure
        self._loaded: dict[str, tuple[tuple[int, ...], str]] = {}
        self._shapes: Shapes = []  # of the latest request
        # The shapes of each answer that was asked for and not taken. Answers wait in the control
        # socket, the oldest first.
        self._asked: deque[Shapes] = deque()
        self._taken = self._told = 0

    @classmethod
    async def start(cls, disabled: Collection[str] = (), packages: Sequence[Package] = ()) -> Self:
        """Start a server and wait until it is ready.

        Args:
            disabled: isolation layers to leave out.
            packages: what programs may import besides the standard library.

        Raises:
            SandboxError: it does not start.
        """
        server = cls()
        try:
            server._launch()
            await server._greet(disabled, packages)
        except (OSError, frames.FrameError) as error:
            cause = server.log_tail() or str(error)
            server.close()
            raise SandboxError(
                f"the sandbox's server does not start: {cause}; `egcfg doctor` checks the sandbox"
            ) from error
        except BaseException:
            server.close()
            raise
        return server

    def _launch(self) -> None:
        with self._theirs as theirs:
            # -P and -s keep the user's modules away, -S the site's; not -I, which would ignore
            # the hash seed.
            self._process = subprocess.Popen(
                [sys.executable, "-s", "-P", "-S", str(CONFINED), str(theirs.fileno())],
                env=ENVIRONMENT,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    async def _greet(self, disabled: Collection[str], packages: Sequence[Package]) -> None:
        """Send the settings, and receive what the server tells about itself."""
        tree_folder = os.path.join(self._scratch, "tree")
        os.mkdir(tree_folder)
        settings = {
            "scratch_root": self._scratch,
            "tree_folder": tree_folder,
            "disabled": sorted(disabled),
            "packages": [asdict(package) for package in packages],
        }
        if sys.platform == "linux":
            self._control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._order(settings, [])
        await wait_for_data(self._control, PATIENCE_SECONDS)
        # The rest has come with it: it is sent in one piece.
        self.pid = receive_process_id(self._control)
        hello = frames.receive(self._control)
        if hello is None:
            raise ConnectionError("it ended")
        if sys.platform == "linux":
            self._control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        found = json.loads(hello)
        self.layers = found["layers"]
        self.ends_at_once = found["ends_at_once"]
        self._spares = found["spares"]
        self._usable = True

    @property
    def alive(self) -> bool:
        """Whether the server still runs and takes requests."""
        return self._usable and self._process is not None and self._process.poll() is None

    async def settle(self) -> None:
        """Wait a moment for a server that may just have been killed to be seen dead."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                while self.alive:
                    await asyncio.sleep(LOOK_SECONDS)

    async def take(self, requests: Sequence[dict[str, Any]]) -> list[ProgramProcess]:
        """Return processes that wait for these requests, with a channel between them if two.

        One call at a time. A call that is cancelled leaves what it asked for to the next one.

        Args:
            requests: one, or two that are to talk to each other.

        Raises:
            OSError: the server is gone, or has no room.
        """
        shapes = [self._shape(request) for request in requests]
        if shapes != self._shapes:
            self._shapes = shapes
        try:
            while self._asked and self._asked[0] is not self._shapes:
                for process in await self._receive():
                    process.close()
            if not self._asked:
                self._ask(1, ahead=False)
            if not has_data(self._control):
                # There is a time to wait, so the cores are not needed otherwise.
                self._ask(self._spares - (len(self._asked) - 1), ahead=True)
            processes = await self._receive()
        except OSError:
            # What was asked for may come or not: later answers cannot be told apart.
            self._usable = False
            raise
        if not processes:
            raise OSError("there is no room for another process")
        return processes

    def tell_taken(self) -> None:
        """Tell which processes do not wait any more, or they would be dismissed after a second."""
        self._order_more(0)

    def replenish(self) -> None:
        """Have as many processes wait as should; best asked when they are least in the way."""
        self._order_more(self._spares)

    def _order_more(self, spares: int) -> None:
        if self._usable:
            waiting = sum(shapes is self._shapes for shapes in self._asked)
            with contextlib.suppress(OSError):  # it is gone: the next one to take will see
                self._ask(spares - waiting, ahead=True)

    def _ask(self, count: int, *, ahead: bool) -> None:
        """Ask for processes of the present shapes; tell how many were taken so far."""
        if count <= 0 and self._told == self._taken:
            return
        count = max(0, count)
        order = {
            "do": "stage",
            "taken": self._taken,
            "count": count,
            "ahead": ahead,
            "shapes": self._shapes if count else [],
        }
        self._order(order, [])
        self._told = self._taken
        self._asked.extend([self._shapes] * count)

    async def _receive(self) -> list[ProgramProcess]:
        """Return the processes that were asked for first; none where there was no room for them."""
        await wait_for_data(self._control, PATIENCE_SECONDS)
        shapes = self._asked[0]
        answer, descriptors, _, _ = socket.recv_fds(
            self._control, 1, MOST_DESCRIPTORS * len(shapes), CLOSE_ON_EXEC
        )
        if not answer:
            raise ConnectionResetError("the server has ended")
        self._asked.popleft()
        self._taken += 1
        if answer == REFUSED:
            return []
        return [ProgramProcess(shape, descriptors) for shape in shapes]

    def _shape(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return what the server must know of an execution ahead of its request."""
        limits, instrument = request["limits"], request["instrument"]
        return {
            "cpu_seconds": limits["cpu_seconds"],
            "memory_bytes": limits["memory_bytes"],
            "file_bytes": limits["file_bytes"],
            "has_stdin": bool(request["stdin"]),
            "instrument": self._load_instrument(instrument["path"]) if instrument else None,
            "instrument_options": instrument["options"] if instrument else {},
            "instrument_bytes": instrument["memory_bytes"] if instrument else 0,
        }

    def _load_instrument(self, path: str) -> str:
        """Have the server load an instrument's module, once per version, and return its key."""
        status = os.stat(path)
        version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        loaded, key = self._loaded.get(path, ((), ""))
        if version != loaded:
            key = f"{path}:{'-'.join(map(str, version))}"
            with tempfile.TemporaryFile(dir=self._scratch) as file:
                file.write(Path(path).read_bytes())
                file.seek(0)
                self._order({"do": "load", "key": key}, [file.fileno()])
            self._loaded[path] = version, key
        return key

    def log_tail(self) -> str:
        """Return the end of what the server wrote to its standard error."""
        size = os.fstat(self._log.fileno()).st_size
        tail = os.pread(self._log.fileno(), 2000, max(0, size - 2000))
        return tail.decode("utf-8", "replace").strip()

    def close(self) -> None:
        """End the server, and executions in flight with it."""
        with contextlib.suppress(OSError):  # it has ended
            # Not just closed: a call that waits for an answer wakes up.
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()
        if self._process is not None:
            if not self._usable:
                self._process.kill()
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def abandon(self) -> None:
        """Let go of a server that belongs to the process that this one was forked from."""
        self._control.close()
        self._log.close()
        if self._process is not None:
            _FOREIGN.append(self._process)

    def _order(self, order: dict[str, Any], descriptors: list[int]) -> None:
        """Send an order; waits only if dozens of them are still unread."""
        frame = frames.pack_json(order)
        sent = socket.send_fds(self._control, [frame], descriptors)
        if sent < len(frame):
            self._control.sendall(frame[sent:])
