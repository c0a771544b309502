"""Every isolation layer alone, in the combinations that real machines have, and all together."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import socket
import subprocess
import sys
import venv
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from egcfg.sandbox import LAYERS, Call, Execution, Level, Limits, Outcome, Sandbox
from egcfg.sandbox.confined import linux
from egcfg.sandbox.confined.layers import LINUX_ONLY
from egcfg.sandbox.confined.seccomp import LIBRARY

from .attempts import SOURCE, getting_through

Run = Callable[[Coroutine[Any, Any, Any]], Any]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="layers of Linux")

UNSHARED = {
    "user namespace": 0,
    "network namespace": linux.CLONE_NEWNET,
    "ipc namespace": linux.CLONE_NEWIPC,
    "uts namespace": linux.CLONE_NEWUTS,
    "mount namespace": linux.CLONE_NEWNS,
    "pid namespace": linux.CLONE_NEWPID,
}
NAMESPACES = tuple(UNSHARED)
NEEDS = {
    **dict.fromkeys(NAMESPACES, ("user namespace",)),
    **dict.fromkeys(("landlock", "seccomp"), ("no_new_privs",)),
}
LIMITS = ("rlimits", "memory limit")
ALONE = [(name, *NEEDS.get(name, ())) for name in LAYERS if name != "clean environment"]
REAL = {
    "a container without user namespaces": (*LIMITS, "no_new_privs", "landlock", "seccomp"),
    "an old kernel": (*LIMITS, "no_new_privs", "seccomp"),
    "no libseccomp, no Landlock": (*LIMITS, *NAMESPACES, "no_new_privs"),
    "nothing but limits": LIMITS,
    "nothing": (),
    "everything": LAYERS,
}
# Calls with arguments that change nothing, and the error that says that they are not to be had.
DANGEROUS = {
    "ptrace": ((16, 0, 0, 0), errno.EPERM),  # attach to no process
    "process_vm_readv": ((0, 0, 0, 0, 0, 0), errno.EPERM),
    "process_vm_writev": ((0, 0, 0, 0, 0, 0), errno.EPERM),
    "pidfd_open": ((-1, 0), errno.EPERM),
    "unshare": ((0,), errno.EPERM),
    "mount": ((0, 0, 0, 0, 0), errno.EPERM),
    "execve": ((0, 0, 0), errno.EPERM),
    "socket": ((1, 1, 0), errno.EPERM),
    "keyctl": ((-1, 0, 0, 0, 0), errno.ENOSYS),
    "add_key": ((0, 0, 0, 0, 0), errno.ENOSYS),
    "bpf": ((-1, 0, 0), errno.ENOSYS),
    "io_uring_setup": ((0, 0), errno.ENOSYS),
    "userfaultfd": ((-1,), errno.ENOSYS),
    "perf_event_open": ((0, 0, 0, 0, 0), errno.ENOSYS),
    "clone3": ((0, 0), errno.ENOSYS),
    "kexec_load": ((0, 0, 0, 0), errno.ENOSYS),
    "open_by_handle_at": ((-1, 0, 0), errno.ENOSYS),
}


def landlock_version() -> int:
    """Return the version of the kernel's interface, below 1 where it has none."""
    return int(linux.libc.syscall(ctypes.c_long(444), None, ctypes.c_size_t(0), 1))


def can_unshare(flag: int) -> bool:
    """Whether the kernel gives an ordinary user a namespace, inside a user namespace of its own."""
    code = f"import ctypes; exit(ctypes.CDLL(None).unshare({linux.CLONE_NEWUSER | flag}))"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@functools.cache
def kernel_has() -> frozenset[str]:
    """Return the layers that must be active here unless switched off, found without the sandbox."""
    found = {"clean environment", *LIMITS, "no_new_privs"}
    if landlock_version() > 0:
        found.add("landlock")
    with contextlib.suppress(OSError):
        ctypes.CDLL(LIBRARY)
        found.add("seccomp")
    found.update(name for name, flag in UNSHARED.items() if can_unshare(flag))
    return frozenset(found)


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """Return what is there to be reached: a file, three servers, a process, shared memory."""
    folder = tmp_path_factory.mktemp("around")
    (folder / "file").write_text("mine")
    abstract = f"\0egcfg-test-{os.getpid()}"
    key = 0x0E6C0000 | (os.getpid() & 0xFFFF)
    memory = linux.libc.shmget(key, 4096, 0o1600)
    listeners = [socket.create_server(("127.0.0.1", 0))]
    for address in (abstract, str(folder / "socket")):
        listeners.append(socket.socket(socket.AF_UNIX))
        listeners[-1].bind(address)
        listeners[-1].listen(100)
    with subprocess.Popen(["sleep", "600"]) as other:
        yield {
            "FILE": str(folder / "file"),
            "PORT": listeners[0].getsockname()[1],
            "ABSTRACT": abstract,
            "SOCKET": str(folder / "socket"),
            "PID": other.pid,
            "KEY": key,
            "HOST": os.uname().nodename,
        }
        other.kill()
    for listener in listeners:
        listener.close()
    linux.libc.shmctl(memory, 0, None)


def test_every_layer_that_the_kernel_has_is_active(run: Run, sandbox: Sandbox) -> None:
    report = run(sandbox.report())
    active = {name for name, status in report.layers.items() if status == "active"}
    assert active == kernel_has(), report.layers


@pytest.mark.parametrize(
    "layers",
    [*ALONE, *REAL.values()],
    ids=[*(f"{names[0]} alone" for names in ALONE), *REAL],
)
def test_what_gets_through_is_what_no_layer_stops(
    run: Run, surroundings: dict[str, object], layers: tuple[str, ...]
) -> None:
    globals_ = "".join(f"{name} = {value!r}\n" for name, value in surroundings.items())
    attempt = Execution(
        source=globals_ + SOURCE,
        call=Call("through()"),
        limits=Limits(memory_bytes=300 << 20, file_bytes=1 << 20),
    )
    disabled = [name for name in LAYERS if name not in (*layers, "clean environment")]
    with closing(Sandbox(disabled=disabled)) as sandbox:
        report = run(sandbox.report())
        (result,) = run(sandbox.run([attempt]))
    assert result.outcome is Outcome.OK, result
    active = {name for name, status in report.layers.items() if status == "active"}
    # A machine may lack a layer; otherwise those are there that were asked for, and no others.
    expected = kernel_has() & {*layers, "clean environment"}
    assert active == expected, report.layers
    assert {*result.value} == getting_through(active, landlock_version())
    if expected >= {*REAL["a container without user namespaces"]}:
        assert report.level is (Level.FULL if expected == {*LAYERS} else Level.STRONG)


def test_each_attempt_is_stopped_by_a_layer_and_each_layer_stops_one_alone() -> None:
    version = landlock_version()
    everything = getting_through({*LAYERS}, version)
    assert everything == set()
    nothing = getting_through(set(), version)
    for name in (*LIMITS, *LINUX_ONLY):
        if name == "user namespace" and os.geteuid() != 0:
            continue  # it takes capabilities away, and an ordinary user has none
        assert getting_through({name}, version) < nothing, name


@pytest.mark.parametrize("own_processes", [True, False], ids=["pid namespace", "no pid namespace"])
def test_calls_that_no_program_needs_are_not_to_be_had(run: Run, own_processes: bool) -> None:
    library = ctypes.CDLL(LIBRARY)
    numbers = {name: library.seccomp_syscall_resolve_name(name.encode()) for name in DANGEROUS}
    calls = [(number, DANGEROUS[name][0]) for name, number in numbers.items() if number >= 0]
    disabled = ["landlock", *(() if own_processes else NAMESPACES)]
    with closing(Sandbox(disabled=disabled)) as sandbox:
        source = f"{SOURCE}\nfound = [numbered(*call) for call in {calls!r}]"
        (result,) = run(sandbox.run([Execution(source=source, call=Call("found"))]))
    assert result.value == [DANGEROUS[name][1] for name, number in numbers.items() if number >= 0]


@pytest.mark.parametrize("own_processes", [True, False], ids=["pid namespace", "no pid namespace"])
def test_a_program_that_signals_itself_works(run: Run, own_processes: bool) -> None:
    source = (
        "import os, signal, threading\n"
        "seen = []\n"
        "signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))\n"
        "signal.raise_signal(signal.SIGUSR1)\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.01)\n"
        "signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))\n"
        "signal.pause()\n"
    )
    disabled = () if own_processes else NAMESPACES
    with closing(Sandbox(disabled=disabled)) as sandbox:
        (result,) = run(sandbox.run([Execution(source=source, call=Call("seen"))]))
    assert result.value == [10, 10, 10, 14], result


def test_files_are_handled_as_usual_by_number(run: Run, sandbox: Sandbox) -> None:
    source = (
        "import fcntl, os\n"
        "file = open('f', 'w')\n"
        "fcntl.lockf(file, fcntl.LOCK_EX)\n"
        "flags = fcntl.fcntl(file, fcntl.F_GETFL)\n"
        "fcntl.fcntl(file, fcntl.F_SETFL, flags | os.O_NONBLOCK)\n"
        "copy = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 20)\n"
    )
    (result,) = run(sandbox.run([Execution(source=source, call=Call("copy"))]))
    assert result.value == 20, result


def test_an_environment_among_temporary_files_has_a_mount_namespace_too(
    run: Run, tmp_path: Path
) -> None:
    venv.create(tmp_path / "environment", with_pip=False)
    code = (
        "import asyncio\n"
        "from egcfg.sandbox import Execution, Sandbox\n"
        "async def main():\n"
        "    async with Sandbox() as sandbox:\n"
        "        report = await sandbox.report()\n"
        "        [run] = await sandbox.run([Execution(source=\"open('x', 'w').write('y')\")])\n"
        "        print(report.layers['mount namespace'], run.outcome)\n"
        "asyncio.run(main())\n"
    )
    found = [path for path in sys.path if path and Path(path).is_dir()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(found)}
    with closing(Sandbox()) as sandbox:
        usual = run(sandbox.report()).layers["mount namespace"]
    ran = subprocess.run(
        [tmp_path / "environment" / "bin" / "python", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == f"{usual} ok\n", ran.stderr
