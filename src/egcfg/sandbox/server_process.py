"""The parent's handle on its fork server: starts it, has processes staged by it, ends it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO, Any, Self

from attrs import asdict

from egcfg.errors import SandboxError, limit_reached
from egcfg.sandbox.confined import frames
from egcfg.sandbox.packages import Package
from egcfg.sandbox.processes import (
    MOST_DESCRIPTORS,
    ProgramProcess,
    receive_process_id,
    wait_for_data,
)

__all__ = ["ServerProcess", "Shapes"]

CONFINED = Path(__file__).with_name("confined")
# Kept referenced: a Popen object that is dropped while its process runs warns.
_FOREIGN: list[subprocess.Popen[bytes]] = []
# For the server to start, to take an order, or to stage a process.
PATIENCE_SECONDS = 30.0
START_ATTEMPTS = 3
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
"""What processes are to be staged for: one execution, or two that talk to each other."""


class ServerProcess:
    """A running fork server.

    Attributes:
        layers: what the server found when it tried each isolation layer: name -> "active", or why
            it is not.
        pid: its process id.
        control: the socket that orders go to, and staged processes come from.
        spares: how many processes may wait for a program.
        ends_at_once: whether killing a program's process ends everything that it started, and
            leaves no file.
    """

    def __init__(self) -> None:
        """Prepare a server; `start` returns one that is ready."""
        self.layers: dict[str, str] = {}
        self.pid = 0
        self.spares = 0
        self.ends_at_once = False
        self._scratch_root: str | None = None
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - kept
        self._process: subprocess.Popen[bytes] | None = None
        self.control, self._theirs = socket.socketpair()
        self.control.settimeout(PATIENCE_SECONDS)
        self._usable = False  # not before it is ready, nor after a failure
        self._at_exit: weakref.finalize[..., Any] | None = None
        self._loaded: dict[str, tuple[tuple[int, ...], str]] = {}

    @classmethod
    async def start(cls, disabled: Collection[str] = (), packages: Sequence[Package] = ()) -> Self:
        """Start a server and wait until it is ready.

        Args:
            disabled: isolation layers to leave out.
            packages: what programs may import besides the standard library.

        Raises:
            SandboxError: it does not start.
        """
        failures = 0
        while True:
            try:
                return await cls._begin(disabled, packages)
            except SandboxError:
                failures += 1
                if failures == START_ATTEMPTS:
                    raise

    @classmethod
    async def _begin(cls, disabled: Collection[str], packages: Sequence[Package]) -> Self:
        try:
            server = cls()
        except OSError as error:
            raise _not_started(error) from error
        try:
            server._launch()
            await server._greet(disabled, packages)
        except (OSError, frames.FrameError) as error:
            log = server.log_tail()
            server.close()
            raise _not_started(error, log) from error
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
        settings = {
            "temporary_folder": tempfile.gettempdir(),
            "disabled": sorted(disabled),
            "packages": [asdict(package) for package in packages],
        }
        if sys.platform == "linux":
            self.control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._order(settings, [])
        await wait_for_data(self.control, PATIENCE_SECONDS)
        # The rest has come with it: it is sent in one piece.
        self.pid = receive_process_id(self.control)
        hello = frames.receive(self.control)
        if hello is None:
            raise ConnectionError("it ended")
        if sys.platform == "linux":
            self.control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        found = json.loads(hello)
        self.layers = found["layers"]
        self.ends_at_once = found["ends_at_once"]
        self.spares = found["spares"]
        self._scratch_root = found["scratch_root"]
        # Whoever forgets to close it leaves nothing either.
        self._at_exit = weakref.finalize(
            self,
            _end_own,
            os.getpid(),
            *(self.control, self._log, self._process, self._scratch_root),
        )
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

    def stage(self, shapes: Shapes, count: int, *, ahead: bool) -> None:
        """Have processes of these shapes staged, so many times; `receive` each time."""
        order = {"do": "stage", "count": count, "ahead": ahead, "shapes": shapes}
        self._order(order, [])

    async def wait(self) -> None:
        """Wait until there is something to `receive`.

        Raises:
            TimeoutError: it takes too long.
        """
        try:
            await wait_for_data(self.control, PATIENCE_SECONDS)
        except TimeoutError:
            # What was asked for may come or not: later answers cannot be told apart.
            self._usable = False
            raise

    def receive(self, shapes: Shapes) -> list[ProgramProcess]:
        """Return the processes that were asked for first, and that have these shapes.

        Raises:
            OSError: the server has ended, or there is no room for them.
        """
        try:
            answer, descriptors, flags, _ = socket.recv_fds(
                self.control, 1, MOST_DESCRIPTORS * len(shapes), CLOSE_ON_EXEC
            )
            if not answer:
                raise ConnectionResetError("the server has ended")
        except OSError:
            self._usable = False
            raise
        if flags & socket.MSG_CTRUNC:
            for descriptor in descriptors:
                os.close(descriptor)
            raise _no_room(errno.EMFILE)
        if answer[0]:
            raise _no_room(answer[0])
        return [ProgramProcess(shape, descriptors) for shape in shapes]

    def load(self, path: str) -> str:
        """Have the server load an instrument's module, once per version, and return its key."""
        status = os.stat(path)
        version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        loaded, key = self._loaded.get(path, ((), ""))
        if version != loaded:
            key = f"{path}:{'-'.join(map(str, version))}"
            with tempfile.TemporaryFile() as file:
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
        if self._at_exit is not None:
            self._at_exit.detach()
        if self._process is not None and not self._usable:
            self._process.kill()
        _end(self.control, self._log, self._process, self._scratch_root)

    def abandon(self) -> None:
        """Let go of a server that belongs to the process that this one was forked from."""
        if self._at_exit is not None:
            self._at_exit.detach()
        self.control.close()
        self._log.close()
        if self._process is not None:
            _FOREIGN.append(self._process)

    def _order(self, order: dict[str, Any], descriptors: list[int]) -> None:
        """Send an order; waits only if dozens of them are still unread."""
        frame = frames.pack_json(order)
        try:
            sent = socket.send_fds(self.control, [frame], descriptors)
            if sent < len(frame):
                self.control.sendall(frame[sent:])
        except OSError:
            # It has ended, though the process that holds its namespace may still be there.
            self._usable = False
            raise


def _end(
    control: socket.socket,
    log: IO[bytes],
    process: subprocess.Popen[bytes] | None,
    scratch_root: str | None,
) -> None:
    """End a server, wait for its end, and leave no file of it."""
    with contextlib.suppress(OSError):  # it has ended
        # Not just closed: a call that waits for an answer wakes up.
        control.shutdown(socket.SHUT_RDWR)
    control.close()
    if process is not None:
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    log.close()
    if scratch_root is not None:  # the server could not do that if it was killed
        shutil.rmtree(scratch_root, ignore_errors=True)


def _end_own(owner: int, *server: Any) -> None:
    """End a server, unless it belongs to the process that this one was forked from."""
    if os.getpid() == owner:
        _end(*server)


def _not_started(error: Exception, log: str = "") -> SandboxError:
    """Return the error for a server that ended before it was ready, or could not be made."""
    last = log.splitlines()[-1] if log else str(error)
    # Its own traceback ends in such an error where it was short of something.
    its = re.search(r"\[Errno (\d+)\]", last)
    cause = limit_reached(OSError(int(its[1]), last) if its else error) or last
    return SandboxError(
        f"the sandbox's server does not start: {cause}; `egcfg doctor` checks the sandbox"
    )


def _no_room(number: int) -> OSError:
    """Return the error for a process that cannot be made, with the limit that is reached."""
    error = OSError(number, os.strerror(number))
    return OSError(number, limit_reached(error) or f"there is no room for another process: {error}")
