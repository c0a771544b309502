"""A seccomp filter: the system calls that a single-process Python program needs, and no others.

Built by libseccomp, which knows the numbers of every architecture, through ctypes: its bindings
on PyPI need the same library and cannot be imported without site-packages. The filter is compiled
once, in the server, and installed by prctl in each program's process, with that one's own id.

Calls that are not listed answer ENOSYS, so that libc falls back to older ones as on an old kernel;
those in `REFUSED` answer EPERM, as programs expect of them.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence

from . import linux

__all__ = ["Seccomp"]

LIBRARY = "libseccomp.so.2"
ACT_ALLOW = 0x7FFF0000
ACT_ERRNO = 0x00050000
PR_SET_SECCOMP = 22
MODE_FILTER = 2
CLONE_THREAD = 0x00010000
AF_UNIX = 1
CMP_NE = 1
CMP_EQ = 4
CMP_MASKED_EQ = 7
ATTRIBUTE_OPTIMIZE = 8
BINARY_TREE = 2

ALLOWED = """
access alarm arch_prctl brk capget chdir clock_getres clock_gettime clock_nanosleep close
close_range copy_file_range dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old
epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 exit exit_group faccessat faccessat2
fadvise64 fallocate fchdir fdatasync flock fstat fstatfs fsync ftruncate futex futex_time64
futex_waitv get_robust_list getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups
getitimer getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit
getrusage getsid gettid gettimeofday getuid getxattr lgetxattr listxattr llistxattr link linkat
lseek lstat madvise membarrier mincore mkdir mkdirat mlock mmap mprotect mremap msync munlock
munmap nanosleep newfstatat open openat openat2 pause pipe pipe2 poll ppoll pread64 preadv preadv2
pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom rename
renameat renameat2 restart_syscall rmdir riscv_hwprobe rseq rt_sigaction rt_sigpending
rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getparam sched_getscheduler sched_yield select
sendfile set_robust_list set_tid_address setitimer shutdown sigaltstack splice stat statfs statx
symlink symlinkat sync_file_range sysinfo time timer_create timer_delete timer_getoverrun
timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times truncate umask
uname unlink unlinkat wait4 waitid write writev
""".split()  # noqa: SIM905 - a paragraph, not 200 lines

# Harmless where the program sees only its own files.
ALLOWED_ON_OWN_FILES = ("chmod", "fchmod", "fchmodat", "fchmodat2", "utime", "utimes", "utimensat")
# Calls whose first argument is the process that gets a signal; tkill takes any thread's number.
SIGNALS_TO_PROCESSES = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")

REFUSED = """
accept accept4 bind chown chroot connect execve execveat fchown fchownat fork getpeername lchown
listen memfd_create mknod mknodat mount pidfd_getfd pidfd_open pidfd_send_signal process_vm_readv
process_vm_writev ptrace recvmsg reboot sendmsg setgid setns setpgid setpriority setresgid setresuid
setrlimit setsid setuid shmget socket swapon umount2 unshare vfork
""".split()  # noqa: SIM905 - a paragraph, not 50 lines

# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
TERMINAL_AND_FILE_REQUESTS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# F_DUPFD to F_SETLKW, F_GETOWN, F_GETSIG, the locks of open files, F_GETLEASE, F_DUPFD_CLOEXEC, and
# sizes and seals. Not those that have signals sent to a process, or another one wait for a file:
FILE_COMMANDS = (*range(8), 9, 11, 36, 37, 38, 1025, 1030, 1031, 1032, 1033, 1034)
# F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY.
REFUSED_FILE_COMMANDS = (8, 10, 15, 1024, 1026)

# Stands in the compiled filter for the id of the process that installs it.
OWN_PROCESS = 0x7E57_1D00


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Seccomp:
    """A compiled filter.

    Args:
        own_files: whether the program sees no files but its own and read-only ones.
        own_processes: whether it sees no processes but its own.

    Raises:
        OSError: the library is missing or refuses a rule.
    """

    def __init__(self, *, own_files: bool, own_processes: bool) -> None:
        self._library = ctypes.CDLL(LIBRARY)
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._library.seccomp_init.argtypes = [ctypes.c_uint32]
        self._library.seccomp_rule_add_array.argtypes = [
            ctypes.c_void_p,
            ctypes.c_uint32,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_void_p,
        ]
        self._library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
        self._library.seccomp_release.argtypes = [ctypes.c_void_p]
        self._library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
        self._filter = self._library.seccomp_init(ACT_ERRNO | errno.ENOSYS)
        if not self._filter:
            raise OSError("seccomp_init fails")
        # Decide by a binary search: the kernel runs the whole filter for each number once, when
        # it is installed. Libraries before 2.5 do without.
        self._library.seccomp_attr_set(self._filter, ATTRIBUTE_OPTIMIZE, BINARY_TREE)
        allowed, refused = [*ALLOWED], [*REFUSED]
        (allowed if own_files else refused).extend(ALLOWED_ON_OWN_FILES)
        if own_processes:
            allowed += [*SIGNALS_TO_PROCESSES, "tkill"]
        else:
            refused.append("tkill")
            for name in SIGNALS_TO_PROCESSES:
                other = _Comparison(0, CMP_NE, OWN_PROCESS, 0)
                self._allow_if_equal(name, 0, [OWN_PROCESS])
                self._add(ACT_ERRNO | errno.EPERM, name, other)
        for name in allowed:
            self._add(ACT_ALLOW, name)
        for name in refused:
            self._add(ACT_ERRNO | errno.EPERM, name)
        self._add_conditional()
        self._code = self._compile()
        self._program = _Program(len(self._code), ctypes.cast(self._code, ctypes.c_void_p).value)
        self._own = [one for one in self._code if one.operand == OWN_PROCESS]

    def apply(self) -> None:
        """Install the filter in this process, for good; needs no_new_privs.

        Raises:
            OSError: the kernel refuses.
        """
        zero = ctypes.c_ulong(0)
        for instruction in self._own:
            instruction.operand = os.getpid()
        linux.check(
            linux.libc.prctl(
                PR_SET_SECCOMP,
                ctypes.c_ulong(MODE_FILTER),
                ctypes.byref(self._program),
                zero,
                zero,
            ),
            "seccomp",
        )

    def _add_conditional(self) -> None:
        threads = _Comparison(0, CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD)
        processes = _Comparison(0, CMP_MASKED_EQ, CLONE_THREAD, 0)
        self._add(ACT_ALLOW, "clone", threads)
        self._add(ACT_ERRNO | errno.EPERM, "clone", processes)
        # A filter cannot follow the pointer to its flags; without it, libc falls back to clone.
        # asyncio wakes itself through a pair of sockets, with sends that name no address.
        self._add(ACT_ALLOW, "socketpair", _Comparison(0, CMP_EQ, AF_UNIX, 0))
        self._add(ACT_ALLOW, "sendto", _Comparison(4, CMP_EQ, 0, 0))
        # Limits of this process only; what is set already cannot be raised.
        self._add(ACT_ALLOW, "prlimit64", _Comparison(0, CMP_EQ, 0, 0))
        self._allow_if_equal("ioctl", 1, TERMINAL_AND_FILE_REQUESTS)
        self._allow_if_equal("fcntl", 1, FILE_COMMANDS)
        for command in REFUSED_FILE_COMMANDS:
            refused = _Comparison(1, CMP_EQ, command, 0)
            self._add(ACT_ERRNO | errno.EPERM, "fcntl", refused)

    def _allow_if_equal(self, name: str, argument: int, values: Sequence[int]) -> None:
        for value in values:
            self._add(ACT_ALLOW, name, _Comparison(argument, CMP_EQ, value, 0))

    def _add(self, action: int, name: str, *conditions: _Comparison) -> None:
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number == -1:
            return  # older libraries do not know newer calls, and need not
        array = (_Comparison * len(conditions))(*conditions)
        result = self._library.seccomp_rule_add_array(
            self._filter, action, number, len(conditions), array
        )
        # Negative numbers stand for calls that this architecture lacks.
        if result < 0 and number >= 0:
            raise OSError(-result, f"seccomp rule for {name}: {os.strerror(-result)}")

    def _compile(self) -> ctypes.Array[_Instruction]:
        with open(os.memfd_create("filter"), "w+b") as file:
            result = self._library.seccomp_export_bpf(self._filter, file.fileno())
            if result < 0:
                raise OSError(-result, f"seccomp_export_bpf: {os.strerror(-result)}")
            self._library.seccomp_release(self._filter)
            file.seek(0)
            code = file.read()
        return (_Instruction * (len(code) // ctypes.sizeof(_Instruction))).from_buffer_copy(code)
