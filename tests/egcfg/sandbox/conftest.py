"""One sandbox for all tests of this folder, and a short way to run a program in it."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import field, frozen

from egcfg.sandbox import LAYERS, Call, Execution, ExecutionResult, Limits, Sandbox, server_process
from egcfg.sandbox.server_process import ServerProcess

# Without these two, a program could take the machine down.
BUT_LIMITS = tuple(name for name in LAYERS if name not in ("rlimits", "memory limit"))
Run = Callable[[Coroutine[Any, Any, Any]], Any]
Execute = Callable[..., ExecutionResult]
T = TypeVar("T")


@frozen
class OwnServers:
    """The servers that the tests of this folder started.

    Attributes:
        mark: where they run their code from. Every process of a sandbox is a fork of its server,
            and has the server's command line.
        servers: process id and scratch folder of each.
    """

    mark: Path
    servers: list[tuple[int, str | None]] = field(factory=list)


@pytest.fixture(scope="package")
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServers]:
    """Run all that is hostile here; in the end no process, zombie or file of it may be left."""
    mark = tmp_path_factory.mktemp("confined") / "link"
    mark.symlink_to(server_process.CONFINED)
    noted = OwnServers(mark)
    yield noted
    assert wait_until(lambda: not leftovers(noted)), leftovers(noted)


@pytest.fixture(autouse=True)
def nothing_stays_behind(own_servers: OwnServers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Note each server that a test starts; those of other folders' tests may live longer."""
    if sys.platform != "linux":
        return
    start = ServerProcess.start

    async def noted(*args: Any) -> ServerProcess:
        server = await start(*args)
        own_servers.servers.append((server.pid, server._scratch_root))
        return server

    monkeypatch.setattr(server_process, "CONFINED", own_servers.mark)
    monkeypatch.setattr(ServerProcess, "start", noted)


def wait_until(look: Callable[[], T]) -> T:
    """Return what a function returns once that is true, or after a minute."""
    patience = time.monotonic() + 60
    while not (seen := look()) and time.monotonic() < patience:
        time.sleep(0.01)
    return seen


@pytest.fixture
def eventually() -> Callable[[Callable[[], T]], T]:
    return wait_until


def leftovers(own: OwnServers) -> list[str]:
    """Return the processes and folders of `own` that are still there."""
    found = [scratch for _, scratch in own.servers if scratch and os.path.exists(scratch)]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # gone meanwhile
            line = (process / "cmdline").read_text()
            zombie = not line and int(process.name) in {pid for pid, _ in own.servers}
            if zombie or str(own.mark) in line:
                found.append(str(process))
    return found


@pytest.fixture(scope="package")
def sandbox() -> Iterator[Sandbox]:
    # More workers than cores: many programs here do nothing but wait for a limit.
    with closing(Sandbox(workers=8)) as service:
        yield service


@pytest.fixture(scope="package")
def bare_sandbox() -> Iterator[Sandbox]:
    """Return a sandbox without any layer of the kernel's but limits."""
    with closing(Sandbox(disabled=BUT_LIMITS)) as service:
        yield service


@pytest.fixture
def own_sandbox() -> Iterator[Sandbox]:
    """Return a sandbox for one test, which may kill its server."""
    with closing(Sandbox()) as service:
        yield service


@pytest.fixture
def execute(run: Run, sandbox: Sandbox) -> Execute:
    """Return a function that runs one program, a call of it by source."""

    def execute_one(source: str, call: str | None = None, **settings: Any) -> ExecutionResult:
        expression = Call(call) if call is not None else None
        (result,) = run(sandbox.run([Execution(source=source, call=expression, **settings)]))
        return result

    return execute_one


@pytest.fixture(scope="session")
def short() -> Limits:
    """Return limits that a hang hits soon."""
    return Limits(cpu_seconds=0.3, wall_seconds=1.0)
