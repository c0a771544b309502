"""The parent's handle on its fork server: starts it, has processes staged by it, ends it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO, Any

from egcfg.errors import SandboxError
from egcfg.sandbox.confined import frames
from egcfg.sandbox.confined.staging import REFUSED
from egcfg.sandbox.processes import MOST_DESCRIPTORS, ProgramProcess, receive_process_id

__all__ = ["ServerProcess"]

CONFINED = Path(__file__).with_name("confined")
# Kept referenced: a Popen object that is dropped while its process runs warns.
_FOREIGN: list[subprocess.Popen[bytes]] = []
# For the server to start, to take an order, or to have a process staged.
PATIENCE_SECONDS = 30.0
END_SECONDS = 5.0
SETTLE_SECONDS = 0.25
# Where the system has it: what other threads start is not to get descriptors as they come.
CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
# No HOME, no key, nothing of the user's: clearing it in a fork would leave it in memory.
ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "TZ": "UTC",
}


class ServerProcess:
    """A running fork server.

    Attributes:
        layers: what the server found when it tried each isolation layer: name -> "active", or why
            it is not.
        pid: its process id.
        ends_at_once: whether killing a program's process ends everything that it started, and
            leaves no file.
    """

    def __init__(self, disabled: Collection[str] = ()) -> None:
        """Start the server and wait until it is ready.

        Args:
            disabled: isolation layers to leave out.

        Raises:
            SandboxError: it does not start.
        """
        self._scratch = tempfile.mkdtemp(prefix="egcfg-sandbox-")
        self._log: IO[bytes] = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115 - kept
        self._loaded: dict[str, tuple[tuple[int, ...], str]] = {}
        self._gone = False
        self._lock = threading.RLock()
        # What was asked for and has not been taken waits in the control socket, the oldest first.
        self._shapes: list[dict[str, Any]] = []  # of what waits
        self._asked = self._taken = 0
        self._control, theirs = socket.socketpair()
        self._control.settimeout(PATIENCE_SECONDS)
        self._answers = select.poll()
        self._answers.register(self._control, select.POLLIN)
        if sys.platform == "linux":
            self._control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            with theirs:
                # -P and -s keep the user's modules away, -S the site's; not -I, which would
                # ignore the hash seed.
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
            tree_folder = os.path.join(self._scratch, "tree")
            os.mkdir(tree_folder)
            settings = {
                "scratch_root": self._scratch,
                "tree_folder": tree_folder,
                "disabled": sorted(disabled),
            }
            self._order(settings, [])
            self.pid = receive_process_id(self._control)
            hello = frames.receive(self._control)
            if hello is None:
                raise ConnectionError("it ended")
            if sys.platform == "linux":
                self._control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        except (OSError, frames.FrameError) as error:
            cause = self.log_tail() or str(error)
            self.close()
            raise SandboxError(
                f"the sandbox's server does not start: {cause}; `egcfg doctor` checks the sandbox"
            ) from error
        except BaseException:
            self.close()
            raise
        found = json.loads(hello)
        self.layers: dict[str, str] = found["layers"]
        self.ends_at_once: bool = found["ends_at_once"]
        self._spares: int = found["spares"]

    @property
    def alive(self) -> bool:
        """Whether the server still runs and takes requests."""
        return not self._gone and self._process.poll() is None

    def settle(self) -> None:
        """Give a server that may just have been killed the time to be seen dead."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(SETTLE_SECONDS)

    def take(self, requests: Sequence[dict[str, Any]]) -> list[ProgramProcess]:
        """Return processes that wait for these requests, with a channel between them if two.

        Args:
            requests: one, or two that are to talk to each other.

        Raises:
            OSError: the server is gone, or has no room.
        """
        shapes = [self._shape(request) for request in requests]
        processes: list[ProgramProcess] = []
        try:
            with self._lock:
                if shapes != self._shapes:
                    while self._asked > self._taken:
                        for process in self._receive():
                            process.close()
                    self._shapes = shapes
                if self._asked == self._taken:
                    self._ask(1, ahead=False)
                if not self._answers.poll(0):
                    # There is a time to wait, so the cores are not needed otherwise.
                    self._ask(max(0, self._spares - (self._asked - self._taken - 1)), ahead=True)
                processes = self._receive()
        except BaseException:
            # Whatever was asked for may come, or not: nothing more can be understood.
            self._gone = True
            for process in processes:
                process.close()
            raise
        if not processes:
            raise OSError("there is no room for another process")
        return processes

    def tell_taken(self) -> None:
        """Tell which processes wait no more, which else would be dismissed with those that do."""
        self._order_more(0)

    def replenish(self) -> None:
        """Have as many processes wait as should; best asked when they are least in the way."""
        self._order_more(self._spares)

    def _order_more(self, spares: int) -> None:
        with self._lock, contextlib.suppress(OSError):  # it is gone: the next one to take will see
            if self._shapes and not self._gone:
                self._ask(max(0, spares - (self._asked - self._taken)), ahead=True)

    def _ask(self, count: int, *, ahead: bool) -> None:
        """Ask for processes of the present shapes; tell how many were taken so far."""
        self._asked += count
        order = {
            "do": "stage",
            "taken": self._taken,
            "count": count,
            "ahead": ahead,
            "shapes": self._shapes,
        }
        self._order(order, [])

    def _receive(self) -> list[ProgramProcess]:
        """Return the processes that were asked for first; none where there was no room for them."""
        answer, descriptors, _, _ = socket.recv_fds(
            self._control, 1, MOST_DESCRIPTORS * len(self._shapes), CLOSE_ON_EXEC
        )
        if not answer:
            raise ConnectionResetError("the server has ended")
        self._taken += 1
        if answer == REFUSED:
            return []
        return [ProgramProcess(shape, descriptors) for shape in self._shapes]

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
        with self._lock:
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
        self._control.close()
        process = getattr(self, "_process", None)
        if process is not None:
            if self._gone:
                process.kill()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def abandon(self) -> None:
        """Let go of a server that belongs to the process that this one was forked from."""
        self._control.close()
        self._log.close()
        _FOREIGN.append(self._process)

    def _order(self, order: dict[str, Any], descriptors: list[int]) -> None:
        frame = frames.pack_json(order)
        sent = socket.send_fds(self._control, [frame], descriptors)
        if sent < len(frame):
            self._control.sendall(frame[sent:])
