"""What goes wrong with one program, or on a machine that is short of something, is told as that."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from egcfg.errors import SandboxError, limit_reached
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.scorer import TestStatus
from egcfg.sandbox import Call, Execution, ExecutionResult, Limits, Outcome, Sandbox
from egcfg.sandbox.failures import FAILURES_IN_A_ROW, Failures
from egcfg.sandbox.server_process import ServerProcess
from egcfg.scorers.asserts import AssertsScorer
from egcfg.scorers.judged import ScorerOptions

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Execute = Callable[..., ExecutionResult]
Eventually = Callable[[Callable[[], Any]], Any]

SMALL = Limits(cpu_seconds=0.3, wall_seconds=1.0, memory_bytes=200 << 20)
FINE = Execution(source="", call=Call("1"))


def nested(depth: int) -> str:
    """Return a program whose bytecode doubles with each level."""
    lines = [f"{'    ' * level}try: pass\n{'    ' * level}finally:" for level in range(depth)]
    return "\n".join([*lines, "    " * depth + "pass", ""])


NOT_FINE = {*Outcome} - {Outcome.OK, Outcome.SANDBOX_ERROR}
EXPENSIVE = {
    "nested finally": (nested(19), {Outcome.TIMEOUT, Outcome.MEMORY}),
    "large literal": ("x = [" + "(1, a)," * 1_000_000 + "]", {Outcome.TIMEOUT, Outcome.MEMORY}),
    "many statements": ("x = y\n" * 1_500_000, {Outcome.TIMEOUT, Outcome.MEMORY}),
    "deep brackets": ("x = " + "[" * 100_000, {Outcome.EXCEPTION, Outcome.MEMORY}),
    "deep signs": (
        "x = " + "-" * 1_000_000 + "1",
        {*Outcome} - {Outcome.OK, Outcome.SANDBOX_ERROR},
    ),
    "deep attributes": ("x" + ".x" * 1_000_000, NOT_FINE),
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_a_program_that_is_hard_to_compile_is_a_result(
    run: Run, sandbox: Sandbox, name: str
) -> None:
    source, outcomes = EXPENSIVE[name]
    result, fine = run(sandbox.run([Execution(source=source, limits=SMALL), FINE]))
    assert result.outcome in outcomes, result
    assert fine.value == 1


def test_a_call_that_is_hard_to_compile_is_a_result(execute: Execute) -> None:
    result = execute("", "[" + "(1, a)," * 1_000_000 + "]", limits=SMALL)
    assert result.outcome in {Outcome.TIMEOUT, Outcome.MEMORY}


PROBLEM = Problem(
    task_id="one",
    description="",
    entry_point="f",
    visible_tests=[AssertTest(source="assert f(1) == 1")],
)
# More than a process may hold: it fails before it can tell what it was asked for.
TOO_LONG = "def f(x):\n    return x\n" + "#" * (16 << 20)


def test_verdicts_of_others_are_not_lost_for_a_program_that_the_sandbox_cannot_run(
    run: Run, sandbox: Sandbox
) -> None:
    options = ScorerOptions(cpu_seconds=0.5, wall_seconds=2.0, memory_bytes=64 << 20)
    scorer = AssertsScorer(options)
    right, poison = "def f(x):\n    return x\n", nested(20)

    async def score() -> list[Any]:
        codes = [right, poison, right, TOO_LONG, right]
        return await asyncio.gather(*[scorer.score(PROBLEM, code, sandbox) for code in codes])

    scores = run(score())
    statuses = [score.results[0].status for score in scores]
    assert statuses[::2] == [TestStatus.PASSED] * 3
    assert statuses[1] in {TestStatus.TIMEOUT, TestStatus.MEMORY}
    assert statuses[3] is TestStatus.SANDBOX_ERROR
    assert scores[3].sandbox_error.startswith("the sandbox failed 2 times: ")


def test_too_many_failures_in_a_row_are_an_error() -> None:
    failures = Failures()
    for _ in range(3):
        for number in range(FAILURES_IN_A_ROW - 1):
            failures.note(f"program {number}", "why")
        failures.note("another", None)
    for number in range(FAILURES_IN_A_ROW - 1):
        failures.note(f"program {number}", "why")
    with pytest.raises(SandboxError, match="5 programs in a row, last on the last: why; see"):
        failures.note("the last", "why")


STALLS = {
    "its own report": (
        "import os, time\ndef f(x):\n    os.write = lambda *_: time.sleep(1000)\n    return x\n"
    ),
    "after half a frame": (
        "import sys, threading, time\n"
        "def f(x):\n"
        "    frame = sys._getframe()\n"
        "    while frame.f_locals.get('channel') is None:\n"
        "        frame = frame.f_back\n"
        "    channel = frame.f_locals['channel']\n"
        "    real = channel.sendall\n"
        "    class Channel:\n"
        "        def __getattr__(self, name): return getattr(channel, name)\n"
        "        def recv(self, size):\n"
        "            channel.sendall(bytes(3))\n"
        "            time.sleep(1000)\n"
        "    sys.modules['egcfg_confined.frames'].receive = lambda channel: Channel().recv(1)\n"
        "    return x\n"
    ),
    "its exit": (
        "import os, sys, time\n"
        "def f(x):\n"
        "    sys.modules['egcfg_confined.frames'].receive = lambda _: time.sleep(1000)\n"
        "    return x\n"
    ),
}


@pytest.mark.parametrize("name", STALLS)
def test_a_program_that_stalls_after_its_verdict_is_ended(
    run: Run, sandbox: Sandbox, name: str
) -> None:
    scorer = AssertsScorer(ScorerOptions(cpu_seconds=60.0, wall_seconds=600.0))
    score = run(asyncio.wait_for(scorer.score(PROBLEM, STALLS[name], sandbox), 60))
    assert score.results[0].status is TestStatus.PASSED


def test_a_server_that_is_killed_while_it_starts_is_started_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    launch = ServerProcess._launch

    def launch_to_die(self: ServerProcess) -> None:
        launch(self)
        assert self._process is not None
        started.append(self._process.pid)
        if len(started) < 3:
            os.kill(self._process.pid, signal.SIGKILL)

    monkeypatch.setattr(ServerProcess, "_launch", launch_to_die)
    with closing(Sandbox()) as sandbox:
        (result,) = run(sandbox.run([FINE]))
    assert (result.value, len(started)) == (1, 3)


UNCLOSED = (
    "import asyncio, os, signal, sys\n"
    "from egcfg.sandbox import Call, Execution, Sandbox\n"
    "sandbox = Sandbox(disabled=sys.argv[2:])\n"
    "work = sandbox.run([Execution(source='', call=Call('1'))])\n"
    # What would be told of steps that take long on a slow machine is not what this is about.
    "(result,) = asyncio.run(work, debug=False)\n"
    "assert result.value == 1\n"
    "print(sandbox._pool.server.pid, flush=True)\n"
    "if sys.argv[1] == 'killed': os.kill(os.getpid(), signal.SIGKILL)\n"
)


@pytest.mark.parametrize("end", ["exits", "killed"])
@pytest.mark.parametrize("disabled", [(), ("mount namespace",)], ids=["mounts", "folders"])
def test_a_sandbox_that_nobody_closed_leaves_nothing(
    tmp_path: Path, eventually: Eventually, end: str, disabled: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", UNCLOSED, end, *disabled],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    server = Path("/proc") / done.stdout.strip()
    assert done.stderr == ""
    if end == "exits":
        assert done.returncode == 0
        assert os.listdir(tmp_path) == []
        assert not server.exists()
    else:
        assert eventually(lambda: not os.listdir(tmp_path))
        assert eventually(lambda: not server.exists())


SHORT_OF_FILES = (
    "import asyncio, os, resource\n"
    "from egcfg.errors import SandboxError\n"
    "from egcfg.sandbox import Execution, Sandbox\n"
    "async def work():\n"
    "    taken = len(os.listdir('/proc/self/fd'))\n"
    "    for room in (0, 3, 6, 12, 200):\n"
    "        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + room, 4096))\n"
    "        try:\n"
    "            async with Sandbox() as sandbox:\n"
    "                await sandbox.run([Execution(source='')])\n"
    "            print('ran')\n"
    "        except SandboxError as error:\n"
    "            print(error)\n"
    "asyncio.run(work())\n"
)


def test_a_machine_short_of_open_files_is_told_which_limit_to_raise() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_FILES], capture_output=True, text=True, check=True
    )
    *lines, last = done.stdout.splitlines()
    assert (len(lines), last) == (4, "ran")
    for line in lines:
        assert "the limit of open files is reached (ulimit -n, now " in line
        assert line.endswith("`egcfg doctor` checks the sandbox")


@pytest.mark.parametrize(
    "error", [BlockingIOError(11, "no"), RuntimeError("can't start new thread")]
)
def test_a_machine_short_of_processes_is_told_which_limit_to_raise(error: Exception) -> None:
    assert "the limit of processes is reached (ulimit -u, now " in (limit_reached(error) or "")
    assert limit_reached(OSError(2, "no such file")) is None
