"""Which time counts: processor time, and real time but for waits for a core."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from attrs import define

from egcfg.sandbox import Execution, ExecutionResult, Limits, Outcome, Sandbox, watch
from egcfg.sandbox.clocks import STRETCH, Waiting, cpu_seconds, waiting
from egcfg.sandbox.watch import Watch

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Execute = Callable[..., ExecutionResult]
Eventually = Callable[[Callable[[], Any]], Any]

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux counts")
SPIN = "while True: pass"
# About 25 ms on a core of a usual server.
WORK = (
    "found = {}\n"
    "for number in range(60_000):\n"
    "    key = str(number % 97)\n"
    "    found[key] = found.get(key, 0) + number * number % 7\n"
)


@contextmanager
def busy(count: int, *, core: int | None = None) -> Iterator[list[int]]:
    """Keep the cores busy, or one of them; yield the processes."""
    pin = "" if core is None else f"import os\nos.sched_setaffinity(0, [{core}])\n"
    spinners = [subprocess.Popen([sys.executable, "-c", pin + SPIN]) for _ in range(count)]
    try:
        yield [spinner.pid for spinner in spinners]
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


# --- what the kernel tells ----------------------------------------------------------------------


@linux_only
def test_waits_for_a_core_are_told_and_sleep_is_none(eventually: Eventually) -> None:
    core = min(os.sched_getaffinity(0))
    echo = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with busy(2, core=core) as (one, other), echo as sleeper:
        assert sleeper.stdin is not None
        assert sleeper.stdout is not None
        sleeper.stdin.write(b"\n")
        sleeper.stdin.flush()
        sleeper.stdout.readline()  # from here on it does nothing but wait for more

        def waited() -> bool:
            found = [waiting(pid) for pid in (one, other)]
            return all(w is not None and w.is_runnable and w.seconds > 0.2 for w in found)

        assert eventually(waited)
        assert eventually(lambda: (told := waiting(sleeper.pid)) and not told.is_runnable)
        asleep = waiting(sleeper.pid)
        time.sleep(0.2)
        assert waiting(sleeper.pid) == asleep
        sleeper.kill()


@linux_only
def test_all_threads_are_counted(eventually: Eventually) -> None:
    source = (
        "import hashlib, os, threading, time\n"
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "def work():\n"
        "    while True: hashlib.sha256(bytes(1 << 20))\n"  # without the interpreter's lock
        "for _ in range(2): threading.Thread(target=work).start()\n"
        "time.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", source]) as child:
        assert eventually(lambda: (told := waiting(child.pid)) and told.seconds > 0.2)
        child.kill()


def test_a_process_that_is_gone_tells_nothing() -> None:
    with subprocess.Popen(["true"]) as child:
        pass
    assert waiting(child.pid) is None
    assert cpu_seconds(child.pid) == 0.0


def test_a_kernel_that_does_not_count_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"schedstat": b"0 0 0\n", "stat": b"1 (python) R 0"}
    monkeypatch.setattr(
        "egcfg.sandbox.clocks._read", lambda _, name: texts[name.rpartition("/")[2]]
    )
    assert waiting(os.getpid()) is None


# --- what counts --------------------------------------------------------------------------------


@define
class Clock:
    """A process of which is known at each moment what it does."""

    now: float = 100.0
    cpu: float = 0.0
    waits: float = 0.0
    runnable: bool = False
    told: bool = True

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.runnable = False

    def compute(self, seconds: float) -> None:
        self.now += seconds
        self.cpu += seconds
        self.runnable = True

    def queue(self, seconds: float) -> None:
        """Wait for a core, and still do."""
        self.now += seconds
        self.runnable = True

    def get_a_core(self, waited: float) -> None:
        self.waits += waited


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    told = lambda _: Waiting(clock.waits, clock.runnable) if clock.told else None  # noqa: E731
    monkeypatch.setattr(watch, "waiting", told)
    monkeypatch.setattr(watch, "cpu_seconds", lambda _: clock.cpu)
    monkeypatch.setattr(watch.time, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def used(clock: Clock) -> Callable[[], float]:
    """Return what looks at the process, and says how much of its limit is used."""
    execution = Watch.__new__(Watch)
    execution._process = type("Process", (), {"pid": 1})()
    execution._started = clock.now
    execution._seen = (clock.now, 0.0, 0.0)
    execution._waits_now = 0.0
    execution.judge, execution._judge_seconds = None, 0.0
    return lambda: round(execution._wall_used(), 6)


def test_sleep_and_computation_count(clock: Clock, used: Callable[[], float]) -> None:
    clock.sleep(2)
    assert used() == 2
    clock.compute(3)
    assert used() == 5
    clock.sleep(1)
    assert used() == 6


def test_the_work_of_a_judge_is_no_time_of_the_program(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Clock()
    told = lambda pid: Waiting((clock, judge)[pid - 1].waits, False)  # noqa: E731
    monkeypatch.setattr(watch, "waiting", told)
    monkeypatch.setattr(watch, "cpu_seconds", lambda pid: (clock, judge)[pid - 1].cpu)
    execution, asking = Watch.__new__(Watch), Watch.__new__(Watch)
    for number, one in enumerate((execution, asking), start=1):
        one._process = type("Process", (), {"pid": number})()
        one._started, one._seen, one._waits_now = clock.now, (clock.now, 0.0, 0.0), 0.0
        one.judge, one._judge_seconds = None, 0.0
    execution.judge = asking
    clock.compute(2)
    assert execution._wall_used() == 2
    judge.compute(3)
    judge.get_a_core(1)
    clock.sleep(4)
    assert execution._wall_used() == 2
    clock.sleep(1)  # both wait: the test sleeps, or the program does
    assert execution._wall_used() == 3
    judge.cpu = judge.waits = 0.0  # it is gone
    assert execution._wall_used() == 3


def test_a_wait_for_a_core_does_not_count_while_it_lasts_and_after(
    clock: Clock, used: Callable[[], float]
) -> None:
    clock.compute(1)
    assert used() == 1
    for _ in range(2):
        clock.queue(1)  # looked at in its midst
        assert used() == 1
    clock.get_a_core(2)
    clock.compute(1)
    assert used() == 2
    # Begun between two looks.
    clock.compute(0.5)
    clock.queue(0.25)
    assert used() == 2.5
    clock.queue(0.25)
    assert used() == 2.5
    clock.get_a_core(0.5)
    clock.sleep(1)
    assert used() == 3.5


def test_waits_save_nobody_for_ever(clock: Clock, used: Callable[[], float]) -> None:
    clock.queue(100)
    assert used() == 100 / STRETCH
    # Waits of many threads add up to more than the time.
    clock.get_a_core(1000)
    clock.sleep(100)
    assert used() == 200 / STRETCH


def test_where_waits_are_not_told_all_limits_are_stretched(
    clock: Clock, used: Callable[[], float]
) -> None:
    clock.told = False
    clock.compute(10)
    clock.sleep(10)
    assert used() == 20 / STRETCH


# --- on a busy machine --------------------------------------------------------------------------


def test_a_busy_machine_makes_no_honest_program_time_out_and_saves_no_sleeper(
    run: Run, sandbox: Sandbox
) -> None:
    limits = Limits(cpu_seconds=2.0, wall_seconds=2.0)
    honest = Execution(source=WORK, limits=limits)
    sleeper = Execution(source="import time\ntime.sleep(1000)", limits=limits)
    spinner = Execution(source=SPIN, limits=Limits(cpu_seconds=0.2, wall_seconds=2.0))
    with busy(4 * len(os.sched_getaffinity(0))):
        results = run(sandbox.run([*[honest] * 6, sleeper, spinner]))
    assert [result.outcome for result in results] == [Outcome.OK] * 6 + [Outcome.TIMEOUT] * 2
    assert results[6].detail == "it took too much wall time"
    assert results[6].seconds >= limits.wall_seconds


def test_limits_are_what_they_are_set_to(execute: Execute) -> None:
    spun = execute("while True: pass", limits=Limits(cpu_seconds=0.2, wall_seconds=60.0))
    assert spun.outcome is Outcome.TIMEOUT
    assert spun.cpu_seconds >= 0.2
    slept = execute("import time\ntime.sleep(60)", limits=Limits(wall_seconds=0.5))
    assert slept.outcome is Outcome.TIMEOUT
    assert slept.seconds >= 0.5


@pytest.mark.parametrize("output", [1 << 16, 5 << 20])
def test_output_is_limited_to_what_is_asked_for(execute: Execute, output: int) -> None:
    limits = Limits(output_bytes=output)
    within = execute(f"print('x' * {output - 1})", limits=limits)
    assert (within.outcome, len(within.stdout)) == (Outcome.OK, output)
    beyond = execute(f"print('x' * {output})", limits=limits)
    assert (beyond.outcome, len(beyond.stdout)) == (Outcome.OUTPUT, output)


def test_a_program_that_nobody_reads_waits_for_no_reader(execute: Execute) -> None:
    # A pipe is full after 64 KiB; then a busy reader would use up the program's real time.
    source = (
        "import os, sys\n"
        "for stream in (sys.stdout, sys.stderr):\n"
        "    os.set_blocking(stream.fileno(), False)\n"
        "    print('x' * (8 << 20), file=stream, flush=True)\n"
    )
    result = execute(source, "1", keep_output=False)
    assert (result.outcome, result.value) == (Outcome.OK, 1)
    assert (result.stdout, result.stderr) == ("", "")
