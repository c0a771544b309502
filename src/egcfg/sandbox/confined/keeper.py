"""Keeps one program's process where only a process of its own can: one parent for each tree.

Without a pid namespace, what a program starts can outlive it: it becomes a child of the keeper,
which ends it. Without a mount namespace, the keeper removes the scratch folder. Where the kernel
does not limit memory, the keeper looks how much the process has.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket

from . import confinement, frames
from .layers import Layers

__all__ = ["keep", "tell_end"]

LOOK_MILLISECONDS = 20


def keep(
    pid: int, leash: socket.socket, layers: Layers, scratch: confinement.Scratch, memory_bytes: int
) -> None:
    """Wait until a program's process ends or must end; tell the parent once all of it is gone.

    Args:
        pid: the process, a child of this one.
        leash: a socket to the parent; whatever comes from there is the order to end.
        layers: what works here.
        scratch: the program's folder.
        memory_bytes: what the process may use.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    poll = select.poll()
    poll.register(leash, select.POLLIN)
    reason = ""
    try:
        while not poll.poll(LOOK_MILLISECONDS) and not _has_ended(pid):
            if _memory_used(layers, pid) > memory_bytes:
                reason = "memory"
                break
    finally:
        status, usage = confinement.end_tree(pid, layers.proc)
        scratch.remove()
    tell_end(leash, reason, status, usage)


def tell_end(leash: socket.socket, reason: str, status: int, usage: resource.struct_rusage) -> None:
    """Tell the parent how a process ended.

    Args:
        leash: the parent has its other end.
        reason: why it was ended, where that was not as the parent wanted it.
        status: its wait status.
        usage: what it and its children used.
    """
    end = {"reason": reason, "status": status, "cpu_seconds": usage.ru_utime + usage.ru_stime}
    with contextlib.suppress(OSError):  # the parent has closed its end
        leash.sendall(frames.pack_json(end))


def _has_ended(pid: int) -> bool:
    """Return whether a child has ended, without reaping it."""
    if hasattr(os, "waitid"):
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, pid, options) is not None
    return False


def _memory_used(layers: Layers, pid: int) -> int:
    """Return how much memory a process has, 0 where the kernel looks after that."""
    if layers.memory_used is None:
        return 0
    try:
        return layers.memory_used(pid)
    except OSError:
        return 0  # it has just ended
