"""One sandbox for all tests of this folder, and a short way to run a program in it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from egcfg.sandbox import LAYERS, Call, Execution, ExecutionResult, Limits, Sandbox, server_process

# Without these two, a program could take the machine down.
BUT_LIMITS = tuple(name for name in LAYERS if name not in ("rlimits", "memory limit"))
Run = Callable[..., ExecutionResult]


@pytest.fixture(scope="package", autouse=True)
def nothing_stays_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run all that is hostile here, and find nothing afterwards that was not there before."""
    if sys.platform != "linux":
        yield
        return
    # Every process of a sandbox is a fork of its server, and has the server's command line.
    folder = tmp_path_factory.mktemp("confined")
    mark = folder / "link"
    mark.symlink_to(server_process.CONFINED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_process, "CONFINED", mark)
        patch.setattr(tempfile, "tempdir", str(folder))
        before = leftovers(mark)
        yield
    patience = time.monotonic() + 10
    while (left := leftovers(mark)) != before and time.monotonic() < patience:
        time.sleep(0.01)
    assert left == before


def leftovers(mark: Path) -> tuple[list[str], list[str], int]:
    """Return processes and zombies, what the scratch folder holds, how many files are open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # gone meanwhile
            state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
            zombie = state == "Z" and int(parent) == os.getpid()
            if zombie or str(mark) in (process / "cmdline").read_text():
                found.append(process.name)
    return sorted(found), sorted(os.listdir(mark.parent)), len(os.listdir("/proc/self/fd"))


@pytest.fixture(scope="package")
def sandbox() -> Iterator[Sandbox]:
    # More workers than cores: many programs here do nothing but wait for a limit.
    with Sandbox(workers=8) as service:
        yield service


@pytest.fixture(scope="package")
def bare_sandbox() -> Iterator[Sandbox]:
    """Return a sandbox without any layer of the kernel's but limits."""
    with Sandbox(disabled=BUT_LIMITS) as service:
        yield service


@pytest.fixture
def run(sandbox: Sandbox) -> Run:
    """Return a function that runs one program, a call of it by source."""

    def run_one(source: str, call: str | None = None, **settings: Any) -> ExecutionResult:
        expression = Call(call) if call is not None else None
        (result,) = sandbox.run([Execution(source=source, call=expression, **settings)])
        return result

    return run_one


@pytest.fixture(scope="session")
def short() -> Limits:
    """Return limits that a hang hits soon."""
    return Limits(cpu_seconds=0.3, wall_seconds=1.0)
