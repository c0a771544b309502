"""Makes this interpreter look like one on macOS, as far as the sandbox can tell; started by a test.

Run with a descriptor, it is the fork server; run without, it runs programs and prints what came of
them. What a real Mac does beyond that is not shown by this.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import runpy
import socket
import sys
from pathlib import Path
from typing import Any

ABSENT = {
    os: ("memfd_create", "pidfd_open", "sched_getaffinity", "sched_setaffinity", "waitid"),
    socket: ("SOCK_SEQPACKET",),
    resource: ("prlimit",),
}
CONFINED = Path(__file__).resolve().parents[3] / "src/egcfg/sandbox/confined"
set_limit = resource.setrlimit


class Library:
    """What ``ctypes.CDLL(None)`` is there: none of Linux's functions, but one of its own."""

    def __init__(self, *_: Any) -> None:
        pass

    def proc_pid_rusage(self, pid: int, flavor: int, words: Any) -> int:
        assert flavor == 0
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        words._obj[9] = pages * resource.getpagesize()
        return 0


def refuse_memory(number: int, limits: tuple[int, int]) -> None:
    """Set a limit, but the one that macOS refuses to lower."""
    if number == resource.RLIMIT_AS:
        raise ValueError("current limit exceeds maximum limit")
    if number != resource.RLIMIT_NPROC:  # as for root there; here it would count threads, too
        set_limit(number, limits)


def pretend() -> None:
    """Change what the sandbox looks at."""
    sys.platform = "darwin"
    for module, names in ABSENT.items():
        for name in names:
            delattr(module, name)
    ctypes.CDLL = Library  # type: ignore[assignment,misc]
    resource.setrlimit = refuse_memory


async def main() -> None:
    """Run programs, and print how they ended."""
    from egcfg.sandbox import Call, Execution, Limits, Sandbox, server_process

    server_process.CONFINED = Path(__file__)
    limits = Limits(cpu_seconds=0.5, wall_seconds=3.0, memory_bytes=200 << 20)
    programs = {
        "value": ("import tempfile\nwith tempfile.TemporaryFile() as f: n = f.write(b'abc')", "n"),
        "exception": ("1 / 0", None),
        "hang": ("import time\ntime.sleep(60)", None),
        "output": ("while True: print('x' * 1000)", None),
        "exit": ("import os\nos._exit(0)", None),
        "memory": ("import time\nx = [b'x' * (1 << 20) for _ in range(400)]\ntime.sleep(9)", None),
        "closed": ("import os, time\nos.closerange(3, 60)\ntime.sleep(9)", None),
        "file": ("open('f', 'wb').write(bytes(99 << 20))", None),
        "stdin": ("x = input()", "x"),
        "environment": ("import os", "sorted(os.environ)"),
        "modules": ("import sys", "[m for m in sys.modules if m.startswith('egcfg_confined.')]"),
    }
    async with Sandbox() as sandbox:
        results = await sandbox.run(
            [
                Execution(
                    source=source,
                    call=None if call is None else Call(call),
                    stdin="typed" if name == "stdin" else "",
                    limits=limits,
                )
                for name, (source, call) in programs.items()
            ]
        )
        report = await sandbox.report()
    found = {
        "layers": dict(report.layers),
        "level": report.level,
        "programs": {
            name: [result.outcome, result.value]
            for name, result in zip(programs, results, strict=True)
        },
        "linux": [name for name in sys.modules if name.startswith("egcfg.sandbox.confined.linux")],
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    pretend()
    if len(sys.argv) > 1:
        runpy.run_path(str(CONFINED), run_name="__main__")
    else:
        asyncio.run(main())
