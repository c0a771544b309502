"""Runs programs that leave things behind, and prints what was left; started by a test.

A process of its own: it is a subreaper, so that whatever escapes becomes its child.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time

from egcfg.sandbox import Execution, Limits, Sandbox
from egcfg.sandbox.confined import linux

CHILDREN = (
    "import os, subprocess, time\n"
    "for n in range(4):\n"
    "    try:\n"
    "        if os.fork() == 0:\n"
    "            os.setsid()\n"
    "            if os.fork() == 0:\n"
    "                open(f'left{n}', 'w').close()\n"
    "                time.sleep(99)\n"
    "            time.sleep(99)\n"
    "    except OSError:\n"
    "        pass\n"
)
PROGRAMS = (
    CHILDREN,
    CHILDREN + "os._exit(0)",
    CHILDREN + "while True: pass",
    CHILDREN + "raise SystemExit",
    "import os\nos.makedirs('a/b')\nos.chmod('a', 0)\nopen('c', 'w').close()",
    "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()",
    "x = [0] * 10**11",
    "import os\nos.symlink('/', 'root')",
)


async def main(disabled: list[str]) -> None:
    """Run every program, in batches and alone, and report what is there that was not before."""
    linux.become_subreaper()
    limits = Limits(cpu_seconds=0.3, wall_seconds=0.6)
    descriptors = len(os.listdir("/proc/self/fd"))
    async with Sandbox(disabled=disabled) as sandbox:
        for main_program in (False, True):
            await sandbox.run(
                [
                    Execution(source=source, limits=limits, run_as_main=main_program)
                    for source in PROGRAMS
                ]
            )
        running = children(os.getpid())
        server = (await sandbox._ready_pool()).server.pid
        # An answer is complete a moment before its processes are gone.
        patience = time.monotonic() + 60
        while (left_to_it := children(server)) and time.monotonic() < patience:
            time.sleep(0.01)
        root = tempfile.gettempdir()
        scratch = [name for folder in os.listdir(root) for name in os.listdir(f"{root}/{folder}")]
    left = {
        "servers": len(running),
        "left to it": left_to_it,
        "scratch": scratch,
        "processes": children(os.getpid()),
        "folders": os.listdir(tempfile.gettempdir()),
        "descriptors": len(os.listdir("/proc/self/fd")) - descriptors,
    }
    sys.stdout.write(json.dumps(left))


def children(parent: int) -> list[int]:
    """Return the child processes of a process, zombies included."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                if int(file.read().rpartition(")")[2].split()[1]) == parent:
                    found.append(int(name))
        except (FileNotFoundError, ProcessLookupError):  # gone meanwhile
            continue
    return found


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
