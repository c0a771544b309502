"""Programs that hurt: each ends, says how, and reaches nothing outside its own process.

These run with every layer that the machine gives, never without: without, they would hurt.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from egcfg.sandbox import (
    Call,
    Execution,
    ExecutionResult,
    Level,
    Limits,
    Outcome,
    Sandbox,
)

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Execute = Callable[..., ExecutionResult]

HANGS = {
    "pure loop": "while True: pass",
    "loop in C": "sum(iter(int, 1))",
    "regular expression": "import re\nre.match('(a+)+$', 'a' * 40 + 'b')",
    "sleep": "import time\ntime.sleep(1000)",
    "lock": "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
    "huge integer": "x = 7 ** 10 ** 9",
    "catches everything": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    ),
    "ignores signals": (
        "import signal\n"
        "for number in set(signal.Signals) - {9, 19}:\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "while True: pass"
    ),
    "fake clock": "import time\ntime.monotonic = time.time = lambda: 0\nwhile True: pass",
    "thread that never ends": (
        "import threading\ndef g():\n    while True: pass\nthreading.Thread(target=g).start()"
    ),
}


@pytest.mark.parametrize("name", HANGS)
def test_hangs_time_out(execute: Execute, short: Limits, name: str) -> None:
    assert execute(HANGS[name], limits=short, run_as_main=True).outcome is Outcome.TIMEOUT


BOMBS = {
    "list": ("x = [0] * 10**11", {Outcome.MEMORY}),
    "bytes": ("x = []\nwhile True: x.append(bytes(10**7))", {Outcome.MEMORY}),
    "string": ("x = 'a'\nwhile True: x += x", {Outcome.MEMORY}),
    "recursion": (
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
        # Out of memory for a frame, CPython may report a SystemError of its own instead.
        {Outcome.MEMORY, Outcome.KILLED, Outcome.TIMEOUT, Outcome.EXCEPTION},
    ),
    "deep source": ("(" * 10**5, {Outcome.EXCEPTION, Outcome.MEMORY}),
    "output": ("while True: print('x' * 1000)", {Outcome.OUTPUT}),
    "errors": ("import sys\nwhile True: sys.stderr.write('x' * 1000)", {Outcome.TIMEOUT}),
    "memory file": ("import os\nos.memfd_create('x')", {Outcome.EXCEPTION}),
    "disk": (
        "n = 0\nwhile True:\n    open(str(n), 'wb').write(bytes(10**6))\n    n += 1",
        {Outcome.EXCEPTION},
    ),
    "forks": (
        "import os\nwhile True:\n    os.fork()",
        {Outcome.EXCEPTION, Outcome.TIMEOUT, Outcome.KILLED},
    ),
    "threads": (
        "import threading, time\n"
        "while True: threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
        {Outcome.EXCEPTION, Outcome.MEMORY},
    ),
    "descriptors": ("import os\nwhile True: os.open('.', 0)", {Outcome.EXCEPTION}),
    "leaves at once": ("import os\nos._exit(9)", {Outcome.KILLED}),
    "surrogates": (
        "class E(Exception): pass\n"
        "E.__name__ = E.__qualname__ = '\\ud800'\n"
        "raise E('\\udfff' * 10**6)",
        {Outcome.EXCEPTION},
    ),
    "prints a surrogate": ("print('\\ud800')", {Outcome.EXCEPTION}),
    "names of files": (
        "import os\nos.mkdir('a' * 255)\nopen('\\udcff\\n', 'w').close()\n1 / 0",
        {Outcome.EXCEPTION},
    ),
    "folders": (
        "import os\nwhile True:\n    os.mkdir('d')\n    os.chdir('d')",
        {Outcome.EXCEPTION, Outcome.TIMEOUT},
    ),
    "segmentation fault": ("import ctypes\nctypes.string_at(0)", {Outcome.KILLED}),
    "abort": ("import os\nos.abort()", {Outcome.KILLED}),
    "reads without input": ("input()", {Outcome.EXCEPTION}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_hit_a_limit(execute: Execute, name: str) -> None:
    source, outcomes = BOMBS[name]
    limits = Limits(cpu_seconds=2.0, wall_seconds=10.0, memory_bytes=150 << 20)
    assert execute(source, limits=limits, run_as_main=True).outcome in outcomes


@pytest.fixture
def strong_execute(run: Run, sandbox: Sandbox, execute: Execute) -> Execute:
    """Return `execute`, where the machine gives the layers that keep a program from the outside."""
    report = run(sandbox.report())
    if report.level not in (Level.FULL, Level.STRONG):
        pytest.skip(f"this machine lacks {report.missing}")
    return execute


@pytest.mark.parametrize(
    "attempt",
    [
        "open(PATH).read()",
        "open(PATH, 'w').write('gone')",
        "os.remove(PATH)",
        "os.symlink(PATH, 'link') or open('link').read()",
        "os.symlink(PATH, 'link') or open('link', 'w').write('gone')",
        "os.symlink(PATH, 'link') or os.truncate('link', 0)",
        "os.symlink(os.path.dirname(PATH), 'link') or os.listdir('link')",
        "os.symlink(os.path.dirname(PATH), 'link') or os.remove('link/file')",
        "os.symlink('link', 'link') or open('link')",
        "os.symlink('../..' + PATH, 'link') or open('link').read()",
        "os.link(PATH, 'link') or open('link').read()",
        "os.rename(PATH, 'taken')",
        "os.chmod(PATH, 0)",
        "os.utime(PATH, (0, 0))",
        "shutil.rmtree(os.path.dirname(PATH))",
        "open('/proc/self/environ').read()",
        "open('/etc/passwd').read()",
        "socket.socket().connect(('127.0.0.1', 80))",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 53))",
        "socket.socket(socket.AF_UNIX).connect('/run/docker.sock')",
        "socket.socket(socket.AF_UNIX).bind('here')",
        "socket.create_server(('127.0.0.1', 0))",
        "os.execv('/bin/sh', ['sh'])",
        "subprocess.run(['true'], check=True)",
        "os.chroot('.')",
        "os.setuid(0) or open('/etc/shadow')",
    ],
)
def test_nothing_outside_is_within_reach(
    strong_execute: Execute, tmp_path: Path, attempt: str
) -> None:
    target = tmp_path / "file"
    target.write_text("mine")
    target.chmod(0o644)
    source = f"import os, shutil, socket, subprocess\nPATH = {str(target)!r}"
    result = strong_execute(source, attempt)
    assert result.outcome is Outcome.EXCEPTION
    assert result.raised is not None
    assert result.raised.type.endswith("Error")
    assert target.read_text() == "mine"
    assert target.stat().st_mode & 0o777 == 0o644


def test_no_other_process_can_be_signalled(strong_execute: Execute) -> None:
    source = (
        "import os\n"
        "def hit(pid):\n"
        "    try: os.kill(pid, 9)\n"
        "    except OSError: return False\n"
        "    return True\n"
    )
    assert strong_execute(source, f"hit({os.getpid()}), hit({os.getppid()})").value == (
        False,
        False,
    )


@pytest.mark.usefixtures("strong_execute")
def test_concurrent_programs_do_not_see_each_other(run: Run, sandbox: Sandbox) -> None:
    source = (
        "import os, time\n"
        "open('mine', 'w').close()\n"
        "time.sleep(0.1)\n"
        "seen = (sorted(os.listdir('.')), "
        "[p for p in range(2, 99) if os.path.exists(f'/proc/{p}')])"
    )
    results = run(sandbox.run([Execution(source=source, call=Call("seen"))] * 2))
    assert [result.value for result in results] == [(["mine", "program.py"], [])] * 2
