"""Which isolation layers work here: each is tried by using it, and left out only if that fails.

A layer that works when the server starts and fails for a program is a failure of the sandbox, never
a program that runs with less protection.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import resource
import socket
import sys
import threading
from collections.abc import Callable, Collection
from functools import partial

from . import landlock, linux, namespaces, seccomp

__all__ = ["Layers"]

NAMESPACES = ("network", "ipc", "uts", "mount")
WORKS = "active"
PROBE_BYTES = 64 << 20


class Layers:
    """The layers of one server.

    Attributes:
        status: layer -> "active", or why it is not.
        landlock: the rules to apply; None without that layer.
        seccomp: the filter to install; None without that layer.
        proc: descriptor of /proc, for supervisors; None where there is none.
    """

    def __init__(self) -> None:
        self.status: dict[str, str] = {}
        self.landlock: landlock.Landlock | None = None
        self.seccomp: seccomp.Seccomp | None = None
        self.proc: int | None = None

    def has(self, name: str) -> bool:
        """Return whether a layer is active."""
        return self.status.get(name) == WORKS

    def enter(self, folder: str, disabled: Collection[str]) -> None:
        """Find out what works, and enter what the server itself is to be in.

        Args:
            folder: an empty folder, for the programs' file tree.
            disabled: layers to leave out.
        """
        self._disabled = disabled
        self.status["clean environment"] = WORKS
        self._try("rlimits", _probe_rlimits)
        if sys.platform != "linux":
            for name in ("user namespace", *(f"{name} namespace" for name in NAMESPACES)):
                self.status[name] = f"{sys.platform} has none"
            for name in ("pid namespace", "no_new_privs", "landlock", "seccomp"):
                self.status[name] = f"{sys.platform} has none"
            return
        self.proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        self._enter_namespaces(folder)
        self._try("no_new_privs", linux.forbid_new_privileges)
        if self.has("no_new_privs"):
            self._prepare_landlock()
            self._prepare_seccomp()
        else:
            self.status["landlock"] = self.status["seccomp"] = "needs no_new_privs"
        linux.undumpable()

    def _try(self, name: str, use: Callable[[], None]) -> bool:
        """Use a layer in a process of its own, and note whether that worked."""
        if name in self._disabled:
            self.status[name] = "switched off"
        else:
            self.status[name] = _in_fork(use) or WORKS
        return self.has(name)

    def _enter_namespaces(self, folder: str) -> None:
        def enter_all(names: list[str]) -> None:
            namespaces.enter_user()
            for name in names:
                namespaces.enter(name, folder)

        entered: list[str] = []
        others = [f"{name} namespace" for name in (*NAMESPACES, "pid")]
        if not self._try("user namespace", namespaces.enter_user):
            self.status.update(dict.fromkeys(others, "needs a user namespace"))
            return
        for name in NAMESPACES:
            if self._try(f"{name} namespace", partial(enter_all, [*entered, name])):
                entered.append(name)
        enter_all(entered)
        self._try("pid namespace", _probe_pid_namespace)

    def _prepare_landlock(self) -> None:
        def use() -> None:
            linux.forbid_new_privileges()
            rules.apply(probe_folder)
            try:
                os.listdir("/")
            except PermissionError:
                return
            raise OSError("it lets programs read other folders")

        probe_folder = namespaces.SCRATCH if self.has("mount namespace") else "/var"
        try:
            rules = landlock.Landlock(namespaces.readable_paths(), namespaces.DEVICES)
        except OSError as error:
            self.status["landlock"] = _reason(error)
            return
        if self._try("landlock", use):
            self.landlock = rules

    def _prepare_seccomp(self) -> None:
        def use() -> None:
            linux.forbid_new_privileges()
            rules.apply()
            # What a program needs must go on working.
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()
            with contextlib.suppress(PermissionError):
                socket.socket()
                raise OSError("it lets programs open sockets")

        try:
            rules = seccomp.Seccomp(
                own_files=self.has("mount namespace"), own_processes=self.has("pid namespace")
            )
        except OSError as error:
            self.status["seccomp"] = _reason(error)
            return
        if self._try("seccomp", use):
            self.seccomp = rules


def _probe_rlimits() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (PROBE_BYTES, PROBE_BYTES))
    try:
        mmap.mmap(-1, 4 * PROBE_BYTES)
    except (OSError, MemoryError):
        return
    raise OSError("memory is not limited")


def _probe_pid_namespace() -> None:
    namespaces.enter_execution(None, pid=True)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if os.getpid() == 1 else 1)
    if os.waitpid(pid, 0)[1]:
        raise OSError("the first process in it is not number 1")


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
            os.write(writer, _reason(error).encode())
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as pipe:
        reason = pipe.read().decode("utf-8", "replace")
    _, status = os.waitpid(pid, 0)
    if status == 0:
        return None
    return reason or f"its trial ended with status {os.waitstatus_to_exitcode(status)}"


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno in (errno.EPERM, errno.EACCES):
        return f"not permitted to ordinary users here ({error})"
    return str(error) or type(error).__name__
