"""Landlock: the kernel's file rules that a process sets for itself.

Reading is allowed beneath given paths, everything beneath the scratch folder, and no TCP, no signal
and no abstract socket to the outside where the kernel's version knows them. It does not cover
chmod, chown, times and extended attributes; the mount namespace or seccomp must.

The packages on PyPI that wrap it cannot be imported by the fork server, which has no site-packages;
the interface is three system calls with the same numbers everywhere.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

from . import linux

__all__ = ["Landlock"]

SYS_CREATE_RULESET = 444
SYS_ADD_RULE = 445
SYS_RESTRICT_SELF = 446
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1

WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
IOCTL_DEV = 1 << 15
# How many file access rights each version of the interface knows.
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
BIND_AND_CONNECT_TCP = 0b11
SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class Landlock:
    """The rules of this server's programs; made once, applied in each program's process.

    Raises:
        OSError: the kernel has no Landlock.
    """

    def __init__(self, readable: Sequence[str], devices: Sequence[str]) -> None:
        self.version = linux.check(
            linux.libc.syscall(
                ctypes.c_long(SYS_CREATE_RULESET), None, ctypes.c_size_t(0), CREATE_RULESET_VERSION
            ),
            "landlock",
        )
        self.rights = (1 << RIGHTS.get(self.version, RIGHTS[max(RIGHTS)])) - 1
        # Older kernels refuse a longer structure, unless what they don't know is zero.
        self.attributes = _Ruleset(handled_access_fs=self.rights)
        if self.version >= 4:
            self.attributes.handled_access_net = BIND_AND_CONNECT_TCP
        if self.version >= 6:
            self.attributes.scoped = SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS
        self.devices = [path for path in devices if os.path.exists(path)]
        self.rules = [(os.open(path, os.O_PATH), _reading(path)) for path in readable]
        self.rules += [(os.open(path, os.O_PATH), READ_FILE | WRITE_FILE) for path in self.devices]
        self.narrower: int | None = None  # a ruleset

    def narrow(self, readable: Sequence[str], listed: Sequence[str], scratch_root: str) -> None:
        """Allow reading of some of the given paths only.

        Rules only ever allow, and a process pays for each that it makes; so these are made once,
        and hold beside those of each process.

        Args:
            readable: paths that may be read with all that is beneath.
            listed: folders that may be listed, with all that is beneath.
            scratch_root: the folder that all scratch folders are in.
        """
        self.narrower = self._ruleset()
        for path, rights in (
            *((path, _reading(path)) for path in readable),
            *((path, READ_DIR) for path in listed),
            *((path, READ_FILE | WRITE_FILE) for path in self.devices),
            (scratch_root, self.rights & ~IOCTL_DEV),
        ):
            descriptor = os.open(path, os.O_PATH)
            self._allow(self.narrower, descriptor, rights)
            os.close(descriptor)

    def apply(self, scratch: str) -> None:
        """Confine this process, for good; needs no_new_privs.

        Args:
            scratch: the folder beneath which everything is allowed.

        Raises:
            OSError: the kernel refuses.
        """
        ruleset = self._ruleset()
        here = os.open(scratch, os.O_PATH)
        for folder, rights in (*self.rules, (here, self.rights & ~IOCTL_DEV)):
            self._allow(ruleset, folder, rights)
        os.close(here)
        if self.narrower is not None:
            _restrict(self.narrower)
        _restrict(ruleset)
        os.close(ruleset)

    def _ruleset(self) -> int:
        return linux.check(
            linux.libc.syscall(
                ctypes.c_long(SYS_CREATE_RULESET),
                ctypes.byref(self.attributes),
                ctypes.c_size_t(ctypes.sizeof(self.attributes)),
                0,
            ),
            "landlock_create_ruleset",
        )

    def _allow(self, ruleset: int, path: int, rights: int) -> None:
        rule = _PathBeneath(allowed_access=rights & self.rights, parent_fd=path)
        linux.check(
            linux.libc.syscall(
                ctypes.c_long(SYS_ADD_RULE),
                ctypes.c_int(ruleset),
                RULE_PATH_BENEATH,
                ctypes.byref(rule),
                0,
            ),
            "landlock_add_rule",
        )


def _restrict(ruleset: int) -> None:
    linux.check(
        linux.libc.syscall(ctypes.c_long(SYS_RESTRICT_SELF), ctypes.c_int(ruleset), 0),
        "landlock_restrict_self",
    )


def _reading(path: str) -> int:
    # A right for folders cannot be given to a file.
    return READ_FILE | (READ_DIR if os.path.isdir(path) else 0)
