"""The system calls that Python has no name for, as functions that raise OSError."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

__all__ = [
    "CLONE_NEWIPC",
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWUSER",
    "CLONE_NEWUTS",
    "become_subreaper",
    "check",
    "die_with_parent",
    "drop_capabilities",
    "enter_namespace",
    "forbid_new_privileges",
    "libc",
    "make_read_only",
    "mount",
    "undumpable",
    "unshare",
]

# From <linux/sched.h>; os has them from Python 3.12 on only.
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
CAPABILITY_VERSION_3: Final = 0x20080522

# Numbers from 424 on are the same on every architecture.
SYS_MOUNT_SETATTR: Final = 442
AT_FDCWD: Final = -100
AT_RECURSIVE: Final = 0x8000
MOUNT_ATTR_RDONLY: Final = 1
MOUNT_ATTR_NOSUID: Final = 2

libc: Final = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> int:
    """Return the result of a system call.

    Raises:
        OSError: it is negative.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` name for new ones."""
    check(libc.unshare(flags), "unshare")


def enter_namespace(descriptor: int, kind: int) -> None:
    """Enter an existing namespace, or have the next child enter it where it is one of processes."""
    check(libc.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)), "setns")


def mount(
    source: str, target: str, kind: str = "", flags: int = 0, options: str | None = None
) -> None:
    """Mount `source` on `target`."""
    data = None if options is None else options.encode()
    check(
        libc.mount(
            os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data
        ),
        f"mount {target}",
    )


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def make_read_only(target: str) -> None:
    """Make a mount and all below it read-only, without touching its other attributes.

    A plain remount would have to repeat every attribute that a user namespace locks.
    """
    attributes = _MountAttributes(attr_set=MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID)
    check(
        libc.syscall(
            ctypes.c_long(SYS_MOUNT_SETATTR),
            ctypes.c_int(AT_FDCWD),
            ctypes.c_char_p(os.fsencode(target)),
            ctypes.c_uint(AT_RECURSIVE),
            ctypes.byref(attributes),
            ctypes.c_size_t(ctypes.sizeof(attributes)),
        ),
        f"mount_setattr {target}",
    )


def prctl(option: int, value: int) -> None:
    """Set one attribute of this process."""
    zero = ctypes.c_ulong(0)
    check(libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), f"prctl {option}")


def forbid_new_privileges() -> None:
    """See to it that no program that is executed gains a privilege."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def become_subreaper() -> None:
    """Have orphaned descendants become children of this process."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that forked it ends."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def undumpable() -> None:
    """Keep other processes of the same user from reading this one's memory."""
    prctl(PR_SET_DUMPABLE, 0)


def drop_capabilities() -> None:
    """Give up every capability, also those that a user namespace gave."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    check(libc.capset(header, nothing), "capset")
