"""Faults of the sandbox's own processes, and what is left once all is over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from egcfg.errors import SandboxError, UnknownNameError
from egcfg.sandbox import LAYERS, Call, Execution, Instrument, Limits, Sandbox
from egcfg.sandbox.judging import Judgement
from egcfg.sandbox.server_process import ServerProcess

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Eventually = Callable[[Callable[[], Any]], Any]


def children_of(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def server_of(sandbox: Sandbox) -> ServerProcess:
    assert sandbox._pool is not None
    return sandbox._pool.server


def test_no_execution_is_lost_or_wrong_when_the_server_is_killed(
    run: Run, own_sandbox: Sandbox
) -> None:
    run(own_sandbox.report())
    first = server_of(own_sandbox).pid
    values = {}

    async def work(number: int) -> None:
        execution = Execution(source="import time\ntime.sleep(0.005)", call=Call(f"{number} * 2"))
        (result,) = await own_sandbox.run([execution])
        values[number] = result.value
        if len(values) == 20:
            os.kill(first, signal.SIGKILL)

    async def work_together() -> None:
        await asyncio.gather(*map(work, range(60)))

    run(work_together())
    assert values == {number: 2 * number for number in range(60)}
    run(own_sandbox.run([Execution(source="")]))
    assert server_of(own_sandbox).pid != first


@pytest.mark.verdicts
def test_ten_thousand_executions_survive_servers_that_are_killed_at_random(
    run: Run, own_sandbox: Sandbox
) -> None:
    chance, killed, wrong = random.Random(5), [], []
    # The second failure on one program is its result: no kill before each worker is past the last.
    finished = [0] * 4
    waiting = iter(range(10_000))
    # A check of a function, and a plain execution, in turn.
    source, test = "def f(x):\n    return x + 1\n", "assert f({0}) == {0} + 1 + {0} % 4 // 2"

    async def work(worker: int) -> None:
        for number in waiting:
            if number % 2:
                execution = Execution(source="", call=Call(f"{number} * 2"))
                [result] = await own_sandbox.run([execution])
                right = result.value == 2 * number
            else:
                judgement = Judgement(source=source, test=test.format(number), entry_point="f")
                [verdict] = await own_sandbox.judge([judgement])
                right = verdict.finding == ("passed" if number % 4 < 2 else "failed")
            if not right:
                wrong.append((number, result if number % 2 else verdict))
            finished[worker] += 1

    async def kill() -> None:
        while True:
            before = finished.copy()
            await asyncio.sleep(chance.uniform(0.3, 1.5))
            while any(now == then for now, then in zip(finished, before, strict=True)):
                await asyncio.sleep(0.01)
            if own_sandbox._pool is not None:
                killed.append(server_of(own_sandbox).pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(killed[-1], signal.SIGKILL)

    async def work_and_kill() -> None:
        await own_sandbox.report()
        killer = asyncio.ensure_future(kill())
        await asyncio.gather(*map(work, range(4)))
        killer.cancel()

    run(work_and_kill())
    assert wrong == []
    assert len(set(killed)) > 10


def test_a_dead_server_is_replaced(run: Run, own_sandbox: Sandbox) -> None:
    run(own_sandbox.report())
    for _ in range(3):
        with contextlib.suppress(ProcessLookupError):  # a process staged before it died answered
            os.kill(server_of(own_sandbox).pid, signal.SIGKILL)
        (result,) = run(own_sandbox.run([Execution(source="", call=Call("1"))]))
        assert result.value == 1


def test_a_failure_of_the_sandbox_is_retried_once_and_then_raised(
    run: Run, own_sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(
        "class Instrument:\n    def __init__(self, options, memory):\n        raise OSError('no')\n"
    )
    broken = Execution(source="", instrument=Instrument(path=str(path)))
    with pytest.raises(SandboxError, match=r"2 times.*OSError: no.*egcfg doctor"):
        run(own_sandbox.run([broken]))
    path.write_text("1 / 0")
    with pytest.raises(SandboxError, match="ZeroDivisionError"):
        run(own_sandbox.run([broken]))
    (result,) = run(own_sandbox.run([Execution(source="", call=Call("1"))]))
    assert result.value == 1


def test_a_server_that_cannot_start_is_an_error_with_its_cause(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("egcfg.sandbox.server_process.CONFINED", tmp_path / "missing")
    with closing(Sandbox()) as sandbox, pytest.raises(SandboxError, match="missing"):
        run(sandbox.run([Execution(source="")]))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    "disabled",
    [
        (),
        ("seccomp",),
        ("seccomp", "pid namespace"),
        [n for n in LAYERS if n not in ("rlimits", "memory limit")],
    ],
    ids=["all layers", "no seccomp", "no pid namespace", "bare"],
)
def test_nothing_stays_behind(tmp_path: Path, disabled: list[str]) -> None:
    script = Path(__file__).with_name("leavers.py")
    done = subprocess.run(
        [sys.executable, str(script), *disabled],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "servers": 1,
        "left to it": [],
        "scratch": [],
        "processes": [],
        "folders": [],
        "descriptors": 0,
    }


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_waiting_processes_die_with_a_killed_server_and_leave_an_idle_one(
    run: Run, own_sandbox: Sandbox, eventually: Eventually
) -> None:
    execution = Execution(source="", call=Call("1"))
    run(own_sandbox.run([execution]))
    first = server_of(own_sandbox).pid
    waiting = eventually(lambda: children_of(first).split())
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in waiting))
    run(own_sandbox.run([execution]))
    assert eventually(lambda: not children_of(server_of(own_sandbox).pid))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_server_dies_with_the_process_that_holds_its_namespace(
    run: Run, own_sandbox: Sandbox, eventually: Eventually
) -> None:
    run(own_sandbox.report())
    server = server_of(own_sandbox)
    assert server.pid != server._process.pid
    os.kill(server._process.pid, signal.SIGKILL)
    assert eventually(lambda: not Path(f"/proc/{server.pid}").exists())
    (result,) = run(own_sandbox.run([Execution(source="", call=Call("1"))]))
    assert result.value == 1


def test_executions_of_changing_shape_get_what_they_ask_for(
    run: Run, own_sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "instrument.py"
    path.write_text(
        "class Instrument:\n"
        "    def __init__(self, options, memory):\n"
        "        memory[-1] = options['mark']\n"
        "    def start(self): pass\n"
        "    def resume(self): pass\n"
        "    def stop(self, error): pass\n"
    )
    source = "with open('f', 'wb') as file:\n    written = file.write(bytes(3000))\n"
    for turn in range(12):
        room = 1 << 12 if turn % 3 else 1 << 11
        instrument = Instrument(
            path=str(path), options={"mark": turn + 1}, memory_bytes=4096 << turn % 4
        )
        execution = Execution(
            source=source,
            call=Call("written"),
            limits=Limits(file_bytes=room),
            instrument=instrument if turn % 2 else None,
        )
        (result,) = run(own_sandbox.run([execution]))
        assert result.has_value == (room > 3000), result
        if turn % 2:
            assert (result.memory[-1], len(result.memory)) == (turn + 1, instrument.memory_bytes)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_waiting_process_that_was_killed_costs_no_execution(
    run: Run, own_sandbox: Sandbox, eventually: Eventually
) -> None:
    execution = Execution(source="", call=Call("1"))
    run(own_sandbox.run([execution]))

    def dead(pid: str) -> bool:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return ") Z " in Path(f"/proc/{pid}/stat").read_text()
        return True

    waiting = eventually(lambda: children_of(server_of(own_sandbox).pid).split())
    for pid in waiting:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    assert eventually(lambda: all(map(dead, waiting)))
    (result,) = run(own_sandbox.run([execution]))
    assert result.value == 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_many_executions_keep_descriptors_and_memory_flat(
    run: Run, own_sandbox: Sandbox, eventually: Eventually
) -> None:
    def usage() -> tuple[int, int, int]:
        pid = server_of(own_sandbox).pid
        # Processes that wait for a next execution leave a server that stays idle.
        assert eventually(lambda: not children_of(pid))
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        # The server hides its descriptors from its own user.
        theirs = len(os.listdir(f"/proc/{pid}/fd")) if os.geteuid() == 0 else 0
        return len(os.listdir("/proc/self/fd")), theirs, pages

    execution = Execution(source="x = bytes(1000)", call=Call("x"))
    run(own_sandbox.run([execution] * 20))
    ours, theirs, pages = usage()
    run(own_sandbox.run([execution] * 200))
    ours_after, theirs_after, pages_after = usage()
    assert (ours_after, theirs_after) == (ours, theirs)
    assert pages_after <= pages + 50
    # Nor has a process that waited for a program failed unseen.
    assert server_of(own_sandbox).log_tail() == ""


def test_a_strict_sandbox_refuses_to_work_without_a_layer(run: Run) -> None:
    with (
        closing(Sandbox(strict=True, disabled=["landlock"])) as sandbox,
        pytest.raises(SandboxError, match="landlock: switched off"),
    ):
        run(sandbox.run([Execution(source="")]))


def test_an_unknown_layer_is_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'seccomp'"):
        Sandbox(disabled=["secomp"])


def test_limits_hold_without_layers(run: Run, bare_sandbox: Sandbox) -> None:
    limits = Limits(cpu_seconds=0.3, wall_seconds=1.0)
    sources = ("while True: pass", "import time; time.sleep(60)", "x = [0] * 10**11")
    results = run(bare_sandbox.run([Execution(source=s, limits=limits) for s in sources]))
    assert [r.outcome.value for r in results] == ["timeout", "timeout", "memory"]
