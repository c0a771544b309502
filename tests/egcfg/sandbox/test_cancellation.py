"""Executions that are cancelled, at any moment: no process, descriptor or slot of them is left."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from egcfg.errors import SandboxError
from egcfg.sandbox import Call, Execution, Instrument, Sandbox
from egcfg.sandbox.judging import Judgement
from egcfg.sandbox.processes import ProgramProcess
from egcfg.sandbox.server_process import ServerProcess
from egcfg.sandbox.watch import Watch

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Eventually = Callable[[Callable[[], Any]], Any]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
LOOP = Execution(source="while True: pass")
SLEEP = Execution(source="import time\ntime.sleep(1000)")
JUDGEMENT = Judgement(source="def f():\n    while True: pass", test="f()", entry_point="f")
LARGE = Execution(source="x = 1\n" * 500_000)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that the id of each process is added to when it has its program."""
    pids: list[int] = []
    start = Watch.start

    async def noted(self: Watch) -> None:
        await start(self)
        pids.append(self._process.pid)

    monkeypatch.setattr(Watch, "start", noted)
    return pids


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[ProgramProcess]:
    """Return a list that each process is added to when it was taken from the server."""
    processes: list[ProgramProcess] = []
    start = ProgramProcess.start

    async def noted(self: ProgramProcess, request: dict[str, Any]) -> None:
        processes.append(self)
        await start(self, request)

    monkeypatch.setattr(ProgramProcess, "start", noted)
    return processes


@pytest.fixture
def unharmed(run: Run, own_sandbox: Sandbox, eventually: Eventually) -> Iterator[None]:
    """Check that a test leaves this process and its sandbox as they were."""
    execution = Execution(source="", call=Call("1"))
    run(own_sandbox.run([execution] * 4))
    server = server_of(own_sandbox)
    descriptors = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == descriptors
    # Every slot is free again, and the same server serves.
    results = run(own_sandbox.run([execution] * 2 * own_sandbox.workers))
    assert [result.value for result in results] == [1] * 2 * own_sandbox.workers
    assert server_of(own_sandbox) is server
    # An idle server keeps no process.
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    assert eventually(lambda: not children.read_text())
    assert server.log_tail() == ""


def server_of(sandbox: Sandbox) -> ServerProcess:
    assert sandbox._pool is not None
    return sandbox._pool.server


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Have a process stand still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def until(look: Callable[[], object]) -> None:
    while not look():
        await asyncio.sleep(0.001)


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.usefixtures("unharmed")
def test_cancelled_executions_and_their_siblings_are_killed(
    run: Run, own_sandbox: Sandbox, started: list[int], eventually: Eventually
) -> None:
    async def work() -> None:
        for _ in range(10):
            started.clear()
            tasks = [
                asyncio.create_task(own_sandbox.run([LOOP, SLEEP] * 5)),
                asyncio.create_task(own_sandbox.judge([JUDGEMENT] * 5)),
            ]
            await until(lambda: len(started) >= own_sandbox.workers)
            await asyncio.gather(*map(cancel, tasks))

    run(work())
    assert eventually(lambda: gone(started))


def test_cancelled_executions_are_killed_without_layers(
    run: Run, bare_sandbox: Sandbox, started: list[int], eventually: Eventually
) -> None:
    async def work() -> None:
        await bare_sandbox.run([Execution(source="")])
        await asyncio.sleep(0)  # now it is closed, too
        descriptors = len(os.listdir("/proc/self/fd"))
        started.clear()
        task = asyncio.create_task(bare_sandbox.run([LOOP, SLEEP] * 3))
        await until(lambda: len(started) >= bare_sandbox.workers)
        await cancel(task)
        assert len(os.listdir("/proc/self/fd")) == descriptors

    run(work())
    assert eventually(lambda: gone(started))


@pytest.mark.usefixtures("unharmed")
def test_one_that_waits_for_a_slot_is_cancelled_alone(
    run: Run, own_sandbox: Sandbox, started: list[int]
) -> None:
    async def work() -> list[object]:
        first = [asyncio.create_task(own_sandbox.run([SLEEP])) for _ in range(own_sandbox.workers)]
        await until(lambda: len(started) == own_sandbox.workers)
        waiting = asyncio.create_task(own_sandbox.run([LOOP]))
        patient = asyncio.create_task(own_sandbox.run([Execution(source="", call=Call("2"))]))
        await asyncio.sleep(0)  # both come to wait
        await cancel(waiting)
        assert len(started) == own_sandbox.workers
        await asyncio.gather(*map(cancel, first))
        return [result.value for result in await patient]

    assert run(work()) == [2]


@pytest.mark.usefixtures("unharmed")
def test_one_that_waits_for_its_process_is_cancelled(
    run: Run, own_sandbox: Sandbox, taken: list[ProgramProcess]
) -> None:
    async def work() -> list[object]:
        pool = own_sandbox._pool
        assert pool is not None
        # A shape for which no process waits; while the server stands still, the loop goes on.
        new = Execution(source="x = input()", call=Call("x"), stdin="typed")
        with stopped(pool.server.pid):
            tasks = [asyncio.create_task(own_sandbox.run([new])) for _ in range(2)]
            await until(lambda: pool._asked)
            for _ in range(3):
                await asyncio.sleep(0.001)
            assert not taken
            await asyncio.gather(*map(cancel, tasks))
        # What was asked for serves the next one.
        return [result.value for result in await own_sandbox.run([new])]

    assert run(work()) == ["typed"]


@pytest.mark.usefixtures("unharmed")
def test_one_whose_process_does_not_read_is_cancelled(
    run: Run, own_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    sending: list[int] = []
    start = ProgramProcess.start

    async def start_stopped(self: ProgramProcess, request: dict[str, Any]) -> None:
        await until(lambda: self.pid)
        os.kill(self.pid, signal.SIGSTOP)
        sending.append(self.pid)
        await start(self, request)
        sending.clear()

    async def work() -> None:
        task = asyncio.create_task(own_sandbox.run([LARGE]))
        await until(lambda: sending)
        for _ in range(3):
            await asyncio.sleep(0.001)  # the loop goes on
        await cancel(task)

    with monkeypatch.context() as patch:
        patch.setattr(ProgramProcess, "start", start_stopped)
        run(work())
    assert sending
    assert eventually(lambda: gone(sending))


@pytest.mark.usefixtures("unharmed")
def test_at_any_step_of_the_event_loop_a_cancelled_execution_leaves_nothing(
    run: Run, own_sandbox: Sandbox
) -> None:
    async def work() -> None:
        for steps in range(60):
            # Each time of another shape: none of the waiting processes is right.
            execution = Execution(
                source="", call=Call("1"), stdin="typed" if steps % 2 else "", run_as_main=True
            )
            tasks = [
                asyncio.create_task(own_sandbox.run([execution] * 3)),
                asyncio.create_task(own_sandbox.run([execution])),
                asyncio.create_task(own_sandbox.judge([JUDGEMENT])),
            ]
            for _ in range(steps):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    run(work())


@pytest.mark.usefixtures("unharmed")
def test_a_failure_ends_its_siblings_and_comes_alone(
    run: Run, own_sandbox: Sandbox, tmp_path: Path, started: list[int], eventually: Eventually
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(
        "class Instrument:\n    def __init__(self, options, memory):\n        raise OSError('no')\n"
    )
    broken = Execution(source="", instrument=Instrument(path=str(path)))
    with pytest.raises(SandboxError, match="OSError: no"):
        run(own_sandbox.run([SLEEP, broken, SLEEP, SLEEP]))
    assert eventually(lambda: gone(started))


@pytest.mark.usefixtures("unharmed")
def test_an_interrupt_ends_the_programs(
    run: Run, own_sandbox: Sandbox, started: list[int], eventually: Eventually
) -> None:
    async def work() -> None:
        task = asyncio.ensure_future(own_sandbox.run([LOOP] * 3))
        await until(lambda: started)
        signal.raise_signal(signal.SIGINT)
        await task

    # Python's own, also where whoever started the tests had it ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(work())
    finally:
        signal.signal(signal.SIGINT, before)
    assert eventually(lambda: gone(started))


def test_a_server_is_not_left_behind_by_a_cancelled_start(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    async def work(sandbox: Sandbox, seconds: float) -> None:
        task = asyncio.create_task(sandbox.report())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait([task])
        assert (sandbox._pool is None) == task.cancelled()

    descriptors = len(os.listdir("/proc/self/fd"))
    for number in range(5):
        with closing(Sandbox()) as sandbox:
            run(work(sandbox, number * 0.02))
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert not list(tmp_path.iterdir())


def test_a_sandbox_that_is_closed_wakes_up_whoever_waits_for_it(
    run: Run, own_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("egcfg.sandbox.server_process.END_SECONDS", 0.1)
    execution = Execution(source="", call=Call("1"))
    run(own_sandbox.run([execution]))

    async def work() -> list[object]:
        pool = own_sandbox._pool
        assert pool is not None
        with stopped(pool.server.pid):
            task = asyncio.create_task(own_sandbox.run([Execution(source="", stdin="other")]))
            await until(lambda: pool._asked)
            own_sandbox.close()
        (result,) = await task
        return [result.outcome]

    assert run(work()) == ["ok"]
