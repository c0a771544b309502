"""Namespaces: the server enters them once; each execution adds a pid namespace and a scratch mount.

Inside, the file system is a small read-only tree: the interpreter, the shared libraries, chosen
packages and four devices; no /proc, no home, no network but a loopback that is down.
"""

from __future__ import annotations

import os

from . import linux
from .readable import Readable

__all__ = [
    "DEVICES",
    "become_first",
    "enter",
    "enter_execution",
    "enter_user",
    "fork_first",
    "scratch_place",
]

DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
# Where programs may write: the first that nothing they may read lies in.
SCRATCH = ("/tmp", "/scratch")
SHARED_MEMORY = "/dev/shm"
SCRATCH_INODES = 1000
# Where the new tree is built: a folder that exists, and that nothing in the tree comes from.
BUILDING_SITE = "/proc"

MS_NOSUID = 2
MS_NODEV = 4
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18


def enter_user() -> None:
    """Enter a user namespace in which this user has capabilities.

    Raises:
        OSError: the system does not give it to ordinary users.
    """
    user, group = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")


def enter(name: str, readable: Readable) -> None:
    """Enter a namespace of another kind, and make use of it.

    Args:
        name: "network", "ipc", "uts" or "mount".
        readable: the files of the new tree.

    Raises:
        OSError: the system does not give it.
    """
    if name == "network":
        linux.unshare(linux.CLONE_NEWNET)
    elif name == "ipc":
        linux.unshare(linux.CLONE_NEWIPC)
    elif name == "uts":
        linux.unshare(linux.CLONE_NEWUTS)
        name_bytes = b"sandbox"
        linux.check(linux.libc.sethostname(name_bytes, len(name_bytes)), "sethostname")
    else:
        linux.unshare(linux.CLONE_NEWNS)
        _build_tree(BUILDING_SITE, readable)


def become_first(proc: int) -> int:
    """Go on as the first process of a pid namespace that this user namespace owns.

    Only from there can a process fork others into new pid namespaces again and again, and whatever
    was forked ends with it. The process that calls this waits, and ends as the first one does.

    Args:
        proc: descriptor of /proc.

    Returns:
        A descriptor of the pid namespace.

    Raises:
        OSError: the system does not give it.
    """
    linux.unshare(linux.CLONE_NEWPID)
    pid = os.fork()
    if pid:
        # This process must not keep open what the first process closes.
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        _, status = os.waitpid(pid, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    return os.open("self/ns/pid", os.O_RDONLY, dir_fd=proc)


def fork_first(own: int) -> int:
    """Fork a process that is the first of a new pid namespace; return its process id here.

    Args:
        own: descriptor of the caller's own pid namespace.

    Raises:
        OSError: there is no room for one.
    """
    linux.unshare(linux.CLONE_NEWPID)
    try:
        pid = os.fork()
    except OSError:
        linux.enter_namespace(own, linux.CLONE_NEWPID)
        raise
    if pid:
        # Until later children belong here again, no second namespace can be made.
        linux.enter_namespace(own, linux.CLONE_NEWPID)
    return pid


def enter_execution(scratch: str | None, scratch_bytes: int) -> None:
    """Enter what a program has for itself: a scratch mount, and a user namespace.

    Its processes are counted by user namespace, apart from all others.

    Args:
        scratch: where the scratch mount is; None without a mount namespace.
        scratch_bytes: its size.
    """
    if scratch is not None:
        linux.unshare(linux.CLONE_NEWNS)
        options = f"size={scratch_bytes},nr_inodes={SCRATCH_INODES},mode=0700"
        linux.mount("tmpfs", scratch, "tmpfs", MS_NOSUID | MS_NODEV, options)
    linux.unshare(linux.CLONE_NEWUSER)


def scratch_place(readable: Readable) -> str:
    """Return where programs have their scratch mount: where it covers nothing that they may read.

    An environment may lie in a folder for temporary files, for instance.
    """
    shown = (*readable.paths, *readable.packages)
    return next(
        place
        for place in SCRATCH
        if not any(path == place or path.startswith(f"{place}/") for path in shown)
    )


def _build_tree(root: str, readable: Readable) -> None:
    linux.mount("none", "/", "", MS_REC | MS_PRIVATE)
    linux.mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=0755")
    for path in readable.paths:
        _show(path, root)
    for folder in readable.hidden:
        linux.mount("tmpfs", root + folder, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=0755")
    for path in readable.packages:
        _bind(path, root + path)
    for device in filter(os.path.exists, DEVICES):
        _bind(device, root + device)
    scratch = scratch_place(readable)
    os.mkdir(root + scratch, 0o700)
    os.symlink(scratch, root + SHARED_MEMORY)
    linux.make_read_only(root)
    os.chdir(root)
    linux.mount(".", "/", "", MS_MOVE)
    os.chroot(".")
    os.chdir("/")


def _show(path: str, root: str) -> None:
    if os.path.islink(path):
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.symlink(os.readlink(path), root + path)
        return
    _bind(path, root + path)


def _bind(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb"):
            pass
    linux.mount(source, target, "", MS_BIND | MS_REC)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
