"""A program that tries to get out, in ways that do no harm where they succeed.

Each attempt names the layers that stop it: every one of them alone does.
"""

from __future__ import annotations

import os

from attrs import frozen

__all__ = ["ATTEMPTS", "SOURCE", "Attempt"]

FILES = ("mount namespace", "landlock")
SIGNALS = ("pid namespace", "seccomp")


@frozen
class Attempt:
    """Something that a program tries.

    Attributes:
        code: an expression that raises an OSError, or is false, where it is stopped.
        stopped_by: the layers that do that.
        landlock: the version of Landlock's interface that stops it, too; 0: none does.
        root: whether only root gets through without any layer.
    """

    code: str
    stopped_by: tuple[str, ...]
    landlock: int = 0
    root: bool = False


ATTEMPTS = {
    "lists another folder": Attempt("os.listdir(os.path.dirname(FILE))", FILES),
    "reads a file": Attempt("open(FILE).read()", FILES),
    "writes to a file": Attempt("open(FILE, 'a').write('x')", FILES),
    "changes a mode": Attempt("os.chmod(FILE, 0o600) is None", ("mount namespace", "seccomp")),
    "opens a connection": Attempt(
        "socket.create_connection(('127.0.0.1', PORT), 1)", ("network namespace", "seccomp"), 4
    ),
    "opens a local connection by name": Attempt(
        "socket.socket(socket.AF_UNIX).connect(ABSTRACT) is None",
        ("network namespace", "seccomp"),
        6,
    ),
    "opens a local connection by path": Attempt(
        "socket.socket(socket.AF_UNIX).connect(SOCKET) is None",
        ("mount namespace", "seccomp"),
        9,
    ),
    "signals a process": Attempt("os.kill(PID, 0) is None", SIGNALS, 6),
    "queues a signal": Attempt("call('sigqueue', PID, 0, None) == 0", SIGNALS, 6),
    "signals a thread": Attempt("call('tgkill', PID, PID, 0) == 0", SIGNALS, 6),
    "has a process told of its file": Attempt(
        "fcntl.fcntl(PIPE, fcntl.F_SETOWN, PID) == 0", SIGNALS
    ),
    "chooses the signal of a file": Attempt(
        "fcntl.fcntl(PIPE, fcntl.F_SETSIG, 10) == 0", ("seccomp",)
    ),
    "locks a file against writers": Attempt(
        "lease(fcntl.F_SETLEASE, fcntl.F_RDLCK) == 0", ("seccomp",)
    ),
    "is told of changes in a folder": Attempt(
        "fcntl.fcntl(os.open('.', 0), fcntl.F_NOTIFY, fcntl.DN_CREATE) == 0", ("seccomp",)
    ),
    "reads shared memory": Attempt("call('shmget', KEY, 0, 0) >= 0", ("ipc namespace", "seccomp")),
    "reads the name of the machine": Attempt("os.uname().nodename == HOST", ("uts namespace",)),
    "starts a process": Attempt("fork()", ("seccomp",)),
    "makes a file in memory": Attempt("os.memfd_create('x') >= 0", ("seccomp",)),
    "may gain privileges": Attempt("call('prctl', 39, 0, 0, 0, 0) == 0", ("no_new_privs",)),
    "has capabilities": Attempt("capabilities() != 0", ("user namespace",), root=True),
    "fills the disk with files": Attempt("files(1100)", ("mount namespace",)),
    "fills the disk": Attempt("megabytes(6)", ("mount namespace",)),
    "writes a large file": Attempt(
        "open('large', 'wb').write(bytes(3 << 20))", ("rlimits", "mount namespace")
    ),
    "opens many files": Attempt("[os.open('.', 0) for _ in range(100)]", ("rlimits",)),
    "takes much memory": Attempt("mmap.mmap(-1, 400 << 20)", ("memory limit",)),
}
"""The limits of the execution are meant to be 1 MiB for a file and 300 MiB for memory."""

# Last, for what they leave: no descriptors for others.
SOURCE = f"""
import ctypes, fcntl, mmap, os, signal, socket
signal.signal(signal.SIGIO, signal.SIG_IGN)
libc = ctypes.CDLL(None, use_errno=True)
PIPE = os.pipe()[0]

def call(name, *arguments):
    return getattr(libc, name)(*arguments)

def lease(command, kind):
    open('leased', 'w').close()
    return fcntl.fcntl(os.open('leased', os.O_RDONLY), command, kind)

def fork():
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    return True

def capabilities():
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    return sets[0] | sets[3]

def files(count):
    for number in range(count):
        open(f'small{{number}}', 'w').close()
    return True

def megabytes(count):
    for number in range(count):
        with open(f'large{{number}}', 'wb') as file:
            file.write(bytes((1 << 20) - 1))
    return True

def numbered(number, arguments):
    '''Make a system call, and return the error's number.'''
    ctypes.set_errno(0)
    return ctypes.get_errno() if libc.syscall(number, *arguments) < 0 else 0

def through():
    found = []
    for name, code in {[(name, one.code) for name, one in ATTEMPTS.items()]!r}:
        try:
            if eval(code):
                found.append(name)
        except (OSError, MemoryError):
            pass
    return found
"""


def getting_through(active: set[str], landlock: int) -> set[str]:
    """Return the attempts that no active layer stops, on Landlock of this version."""
    return {
        name
        for name, attempt in ATTEMPTS.items()
        if not active & {*attempt.stopped_by}
        and not ("landlock" in active and 0 < attempt.landlock <= landlock)
        and not (attempt.root and os.geteuid() != 0)
    }
