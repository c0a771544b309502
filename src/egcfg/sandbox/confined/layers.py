"""Which isolation layers work here: each is tried by using it, and left out only if that fails.

A layer that works when the server starts and fails for a program is a failure of the sandbox, never
a program that runs with less protection.
"""

from __future__ import annotations

import errno
import mmap
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence

__all__ = ["LINUX_ONLY", "WORKS", "Layers", "reason"]

WORKS = "active"
PROBE_BYTES = 64 << 20
PROBE_SECONDS = 60
LINUX_ONLY = (
    "user namespace",
    "network namespace",
    "ipc namespace",
    "uts namespace",
    "mount namespace",
    "pid namespace",
    "no_new_privs",
    "landlock",
    "seccomp",
)


class Layers:
    """The layers of one server, as far as every system has them.

    Attributes:
        status: layer -> "active", or why it is not.
        scratch: the folder that is an empty mount of its own for each program; None where a
            temporary folder must be made for it.
        scratch_root: the folder in which such folders are made; None where none are.
    """

    def __init__(self) -> None:
        self.status: dict[str, str] = {}
        self.scratch: str | None = None
        self.scratch_root: str | None = None

    def has(self, name: str) -> bool:
        """Return whether a layer is active."""
        return self.status.get(name) == WORKS

    def enter(
        self, temporary_folder: str, disabled: Collection[str], packages: Sequence[str]
    ) -> None:
        """Find out what works, and enter the layers that hold for the server itself.

        Args:
            temporary_folder: where `scratch_root` is made, if there must be one.
            disabled: layers to leave out.
            packages: folders and files of packages that programs may read.
        """
        self._disabled = disabled
        self.status["clean environment"] = WORKS
        self.attempt("rlimits", _probe_rlimits)
        self.attempt("memory limit", _probe_memory_limit)
        self.enter_more(temporary_folder, packages)

    def enter_more(
        self,
        temporary_folder: str,
        packages: Sequence[str],  # noqa: ARG002 - for those that override it
    ) -> None:
        """Do the same for the layers that only some systems have."""
        self.status.update(dict.fromkeys(LINUX_ONLY, f"{sys.platform} has none"))
        self.make_root(temporary_folder)

    def make_root(self, temporary_folder: str) -> None:
        """Make the folder in which programs' folders are made."""
        self.scratch_root = tempfile.mkdtemp(prefix="egcfg-sandbox-", dir=temporary_folder)

    def fork_apart(self) -> int:
        """Fork a process that is apart from all others, as far as the system can do that."""
        return os.fork()

    def end_orphans(self, forked: Collection[int]) -> None:
        """End what programs that are gone have started, where that does not end with them.

        Args:
            forked: the processes that this one has forked and still knows.
        """

    def separate(self, scratch_bytes: int) -> None:
        """Give this process what each program has for itself."""

    def lock(self, scratch: str) -> None:
        """Give up what the program must not have; system calls are left to `filter_calls`."""

    def filter_calls(self) -> None:
        """Give up the system calls that the program must not make."""

    def attempt(self, name: str, use: Callable[[], None]) -> bool:
        """Use a layer in a process of its own, and note whether that worked."""
        if name in self._disabled:
            self.status[name] = "switched off"
        else:
            self.status[name] = _in_fork(use) or WORKS
        return self.has(name)


def _probe_rlimits() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (PROBE_SECONDS, PROBE_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))
    with tempfile.TemporaryFile(buffering=0) as file:
        try:
            file.write(b"..")
            file.write(b"..")
        except OSError:
            return
    raise OSError("files are not limited")


def _probe_memory_limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (PROBE_BYTES, PROBE_BYTES))
    try:
        mmap.mmap(-1, 4 * PROBE_BYTES)
    except (OSError, MemoryError):
        return
    raise OSError("memory is not limited")


def _in_fork(use: Callable[[], None]) -> str | None:
    """Run a function in a fork, and return why it failed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            use()
            status = 0
        except BaseException as error:  # noqa: BLE001 - the last frame of this process
            os.write(writer, reason(error).encode())
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as pipe:
        text = pipe.read().decode("utf-8", "replace")
    _, status = os.waitpid(pid, 0)
    if status == 0:
        return None
    return text or f"its trial ended with status {os.waitstatus_to_exitcode(status)}"


def reason(error: BaseException) -> str:
    """Return why a layer does not work, for people."""
    if isinstance(error, OSError) and error.errno in (errno.EPERM, errno.EACCES):
        return f"not permitted to ordinary users here ({error})"
    return str(error) or type(error).__name__
