"""The parent's handle on its fork server: starts it, hands executions to it, ends it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

from egcfg.errors import SandboxError
from egcfg.sandbox.confined import frames

__all__ = ["ServerProcess"]

CONFINED = Path(__file__).with_name("confined")
# Kept referenced: a Popen object that is dropped while its process runs warns.
_FOREIGN: list[subprocess.Popen[bytes]] = []
START_SECONDS = 30.0
END_SECONDS = 5.0
SETTLE_SECONDS = 0.25
SEND_SECONDS = 30.0
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
        self._sending = threading.Lock()
        self._control, theirs = socket.socketpair()
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
            self._control.settimeout(START_SECONDS)
            hello = frames.receive(self._control)
            if hello is None:
                raise ConnectionError("it ended")
        except (OSError, frames.FrameError) as error:
            cause = self.log_tail() or str(error)
            self.close()
            raise SandboxError(
                f"the sandbox's server does not start: {cause}; `egcfg doctor` checks the sandbox"
            ) from error
        except BaseException:
            self.close()
            raise
        self.layers: dict[str, str] = json.loads(hello)["layers"]

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the server still runs and takes requests."""
        return not self._gone and self._process.poll() is None

    def settle(self) -> None:
        """Give a server that may just have been killed the time to be seen dead."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(SETTLE_SECONDS)

    def submit(self, request: dict[str, Any], channel: socket.socket | None) -> socket.socket:
        """Have a request executed; the answer comes through the socket that is returned.

        Raises:
            OSError: the server is gone.
        """
        ours, theirs = socket.socketpair()
        try:
            if request["instrument"] is not None:
                key = self._load_instrument(request["instrument"]["path"])
                request = {**request, "instrument": {**request["instrument"], "key": key}}
            with theirs:
                descriptors = [theirs.fileno()]
                if channel is not None:
                    descriptors.append(channel.fileno())
                self._order({"do": "run", "shape": _shape(request)}, descriptors)
            ours.settimeout(SEND_SECONDS)
            ours.sendall(frames.pack_json(request))
        except OSError:
            # A process that was killed closes its sockets before it can be waited for.
            self._gone = True
            ours.close()
            raise
        return ours

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
        """End the server; supervisors of executions in flight end them and themselves."""
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
        with self._sending:
            self._control.settimeout(SEND_SECONDS)
            sent = socket.send_fds(self._control, [frame], descriptors)
            self._control.sendall(frame[sent:])


def _shape(request: dict[str, Any]) -> dict[str, Any]:
    """Return what the server must know of an execution ahead of its request."""
    limits, instrument = request["limits"], request["instrument"]
    return {
        "cpu_seconds": limits["cpu_seconds"],
        "memory_bytes": limits["memory_bytes"],
        "file_bytes": limits["file_bytes"],
        "has_stdin": bool(request["stdin"]),
        "instrument": instrument["key"] if instrument else None,
        "instrument_bytes": instrument["memory_bytes"] if instrument else 0,
    }
