"""The layers that Linux adds: namespaces, Landlock, seccomp."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Collection, Sequence
from functools import partial

from . import landlock, linux, namespaces, seccomp
from .layers import Layers, reason
from .readable import Readable

__all__ = ["LinuxLayers"]

NAMESPACES = ("network", "ipc", "uts", "mount")


class LinuxLayers(Layers):
    """All layers that there are.

    Attributes:
        landlock: the rules to apply; None without that layer.
        seccomp: the filter to install; None without that layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.landlock: landlock.Landlock | None = None
        self.seccomp: seccomp.Seccomp | None = None
        self._proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        self._own_pids: int | None = None
        self._adopts = False

    def enter_more(self, temporary_folder: str, packages: Sequence[str]) -> None:
        """Enter the namespaces, and prepare what each program's process applies to itself."""
        readable = Readable(packages)
        self._enter_namespaces(readable)
        if self.has("mount namespace"):
            self.scratch = namespaces.scratch_place(readable)
        else:
            self.make_root(temporary_folder)
        self.attempt("no_new_privs", linux.forbid_new_privileges)
        if self.has("no_new_privs"):
            self._prepare_landlock(readable)
            self._prepare_seccomp()
        else:
            self.status["landlock"] = self.status["seccomp"] = "needs no_new_privs"
        linux.undumpable()
        if self._own_pids is not None:
            linux.die_with_parent()
        self._adopts = self._own_pids is None and self.seccomp is None
        if self._adopts:
            linux.become_subreaper()

    def fork_apart(self) -> int:
        """Fork a process that is the first of a pid namespace, where there are any."""
        return os.fork() if self._own_pids is None else namespaces.fork_first(self._own_pids)

    def end_orphans(self, forked: Collection[int]) -> None:
        """End what became this process's child without being forked by it."""
        while self._adopts and (orphans := self._children().difference(forked)):
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def separate(self, scratch_bytes: int) -> None:
        """Enter what each program has for itself: a scratch mount, a count of its processes."""
        if self.has("user namespace"):
            namespaces.enter_execution(self.scratch, scratch_bytes)

    def lock(self, scratch: str) -> None:
        """Give up all capabilities and new privileges, and the files outside of `scratch`."""
        if self.has("user namespace"):
            linux.drop_capabilities()
        if self.has("no_new_privs"):
            linux.forbid_new_privileges()
        if self.landlock is not None:
            self.landlock.apply(scratch)
        # Only now: the kernel forgets it when capabilities change.
        linux.die_with_parent()

    def filter_calls(self) -> None:
        """Install the seccomp filter."""
        if self.seccomp is not None:
            self.seccomp.apply()

    def _children(self) -> set[int]:
        """Return the process ids of this process's children, zombies included."""
        found = set()
        for name in filter(str.isdigit, os.listdir(self._proc)):
            with contextlib.suppress(OSError):  # gone meanwhile
                descriptor = os.open(f"{name}/stat", os.O_RDONLY, dir_fd=self._proc)
                with open(descriptor, "rb") as file:
                    # The name before it, in brackets, may hold anything.
                    parent = file.read().rpartition(b")")[2].split()[1]
                if int(parent) == os.getpid():
                    found.add(int(name))
        return found

    def _enter_namespaces(self, readable: Readable) -> None:
        def enter_all(names: list[str]) -> None:
            namespaces.enter_user()
            for name in names:
                namespaces.enter(name, readable)

        entered: list[str] = []
        others = [f"{name} namespace" for name in (*NAMESPACES, "pid")]
        if not self.attempt("user namespace", namespaces.enter_user):
            self.status.update(dict.fromkeys(others, "needs a user namespace"))
            return
        for name in NAMESPACES:
            if self.attempt(f"{name} namespace", partial(enter_all, [*entered, name])):
                entered.append(name)
        enter_all(entered)
        if self.attempt("pid namespace", partial(_probe_pid_namespace, self._proc)):
            self._own_pids = namespaces.become_first(self._proc)

    def _prepare_landlock(self, readable: Readable) -> None:
        def use() -> None:
            linux.forbid_new_privileges()
            rules.apply(self.scratch or self.scratch_root or "")
            try:
                os.listdir("/")
            except PermissionError:
                return
            raise OSError("it lets programs read other folders")

        try:
            rules = landlock.Landlock(readable.roots, namespaces.DEVICES)
            if self.scratch_root is not None:  # there is more in these folders than may be read
                rules.narrow(*readable.piecewise(), self.scratch_root)
        except OSError as error:
            self.status["landlock"] = reason(error)
            return
        if self.attempt("landlock", use):
            self.landlock = rules

    def _prepare_seccomp(self) -> None:
        def use() -> None:
            linux.forbid_new_privileges()
            rules.apply()
            # What a program needs must go on working.
            try:
                thread = threading.Thread(target=int)
                thread.start()
                thread.join()
            except RuntimeError as error:
                raise OSError(f"{error}: raise the limit of processes (ulimit -u)") from error
            with contextlib.suppress(PermissionError):
                socket.socket()
                raise OSError("it lets programs open sockets")

        try:
            rules = seccomp.Seccomp(
                own_files=self.has("mount namespace"), own_processes=self.has("pid namespace")
            )
        except OSError as error:
            self.status["seccomp"] = reason(error)
            return
        if self.attempt("seccomp", use):
            self.seccomp = rules


def _probe_pid_namespace(proc: int) -> None:
    own = namespaces.become_first(proc)
    for _ in range(2):
        pid = namespaces.fork_first(own)
        if pid == 0:
            os._exit(0 if os.getpid() == 1 else 1)
        if os.waitpid(pid, 0)[1]:
            raise OSError("the first process in it is not number 1")
