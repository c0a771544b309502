"""Programs in, what their tests say out; from any thread and any event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

import egcfg
from egcfg.errors import SandboxError, UsageError
from egcfg.evaluation import reward as module
from egcfg.interfaces.problem import AssertTest, Problem, StdioTest
from egcfg.interfaces.scorer import Score, TestResult, TestStatus
from egcfg.sandbox import Sandbox
from egcfg.scorers.asserts import AssertsScorer

SQUARE = Problem(
    task_id="square",
    description="",
    entry_point="f",
    visible_tests=[AssertTest("assert f(3) == 9"), AssertTest("assert f(-2) == 4")],
    time_limit=1.0,
    memory_limit=256,
)
ECHO = Problem(
    task_id="echo",
    description="",
    entry_point=None,
    visible_tests=[StdioTest("4", "4")],
    scorer="stdio",
)
RIGHT = "def f(x):\n    return x * x\n"
HALF = "def f(x):\n    return 9\n"


def test_each_program_has_its_verdict_its_share_and_its_kind_of_failure() -> None:
    programs = {
        RIGHT: ("passed", 1.0),
        HALF: ("failed", 0.5),
        f"Sure:\n```python\n{RIGHT}```\n": ("passed", 1.0),
        "def f(x:\n": ("error", 0.0),
        "": ("error", 0.0),
        "def f(x):\n    while True: pass\n": ("timeout", 0.0),
        "def f(x):\n    return [0] * 10**9\n": ("memory", 0.0),
        "import os; os._exit(0)": ("error", 0.0),
        "\0": ("error", 0.0),
        "x = '\ud800'": ("error", 0.0),
    }
    rewards = egcfg.reward_blocking(list(programs), SQUARE)

    assert [(one.status.value, one.share) for one in rewards] == list(programs.values())
    assert [one.passed for one in rewards] == [one.error is None for one in rewards]
    assert rewards[3].error is not None
    assert rewards[3].error.startswith("SyntaxError")


def test_each_program_may_have_a_problem_of_its_own() -> None:
    programs = [RIGHT, "print(input())", "print(1)"]
    rewards = egcfg.reward_blocking(programs, [SQUARE, ECHO, ECHO])
    assert [one.status.value for one in rewards] == ["passed", "passed", "failed"]


def test_programs_and_problems_that_do_not_pair_up_are_an_error() -> None:
    with pytest.raises(UsageError, match="2 programs and 1 problems; give one problem for all"):
        egcfg.reward_blocking([RIGHT, HALF], [SQUARE])
    with pytest.raises(UsageError, match="put it into a list"):
        egcfg.reward_blocking(RIGHT, SQUARE)
    assert egcfg.reward_blocking([], SQUARE) == []


def test_calls_of_all_threads_and_loops_share_one_sandbox() -> None:
    async def both() -> list[list[egcfg.Reward]]:
        # The blocking face inside of a running loop, and two calls of that loop.
        first = egcfg.reward_blocking([RIGHT], SQUARE)
        others = (egcfg.reward([HALF], SQUARE), egcfg.reward([RIGHT], SQUARE))
        return [first, *await asyncio.gather(*others)]

    with ThreadPoolExecutor(3) as threads:
        calls = [threads.submit(lambda: asyncio.run(both())) for _ in range(3)]
        found = [[[one.share for one in each] for each in call.result()] for call in calls]
    assert found == [[[1.0], [0.5], [1.0]]] * 3


def test_a_call_with_many_programs_does_not_starve_one_with_one() -> None:
    async def race() -> tuple[bool, list[float]]:
        many = asyncio.ensure_future(egcfg.reward([RIGHT] * 60, SQUARE))
        await egcfg.reward([HALF], SQUARE)  # both are at work from now on
        one = await egcfg.reward([HALF], SQUARE)
        was_first = not many.done()
        return was_first, [each.share for each in (*one, *await many)]

    assert asyncio.run(race()) == (True, [0.5, *[1.0] * 60])


def test_a_sandbox_of_the_callers_own_is_used_and_stays_open() -> None:
    async def twice() -> list[egcfg.Reward]:
        async with Sandbox(workers=1) as sandbox:
            return [
                *await egcfg.reward([RIGHT], SQUARE, sandbox=sandbox),
                *await egcfg.reward([HALF], SQUARE, sandbox=sandbox),
            ]

    assert [one.share for one in asyncio.run(twice())] == [1.0, 0.5]


def test_programs_wait_as_texts_until_a_worker_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made of a program, its tests and their results, exists for those at work alone."""
    made = done = most = 0

    async def score(*_: object) -> Score:
        nonlocal done
        await asyncio.sleep(0)
        done += 1
        return Score(results=[TestResult(name="t", status=TestStatus.PASSED, seconds=0.0)])

    def read(_: Problem, text: str) -> tuple[str, bool]:
        nonlocal made, most
        made += 1
        most = max(most, made - done)
        return text, False

    monkeypatch.setattr(AssertsScorer, "score", score)
    monkeypatch.setattr(module, "whole_program", read)

    async def many() -> list[egcfg.Reward]:
        async with Sandbox(workers=3) as sandbox:
            return await egcfg.reward([RIGHT] * 5000, SQUARE, sandbox=sandbox)

    assert len(asyncio.run(many())) == made == done == 5000
    assert most <= 3


def test_a_call_that_is_cancelled_ends_its_programs_and_no_others() -> None:
    endless = Problem(
        task_id="endless",
        description="",
        entry_point="f",
        visible_tests=[AssertTest("assert f(1)")],
        time_limit=600.0,
    )

    async def cancelled() -> list[egcfg.Reward]:
        await egcfg.reward([RIGHT], SQUARE)
        hanging = asyncio.ensure_future(
            egcfg.reward(["import time\ndef f(x):\n    time.sleep(600)\n"] * 20, endless)
        )
        while not module._shared.loop._tasks:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # where its first programs run, no other one would have its turn
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        assert not module._shared.loop._tasks  # what it had begun is over, not left behind
        return await egcfg.reward([HALF], SQUARE)

    [one] = asyncio.run(cancelled())
    assert one.share == 0.5


def test_a_program_that_the_sandbox_fails_on_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def score(_: object, problem: Problem, code: str, sandbox: Sandbox) -> Score:  # noqa: ARG001 - the seam's
        status = TestStatus.SANDBOX_ERROR if code == HALF else TestStatus.PASSED
        return Score(results=[TestResult(name="t", status=status, seconds=0.0, error="no room")])

    monkeypatch.setattr(AssertsScorer, "score", score)
    rewards = egcfg.reward_blocking([RIGHT, HALF, RIGHT], SQUARE)
    assert [one.status.value for one in rewards] == ["passed", "sandbox_error", "passed"]
    assert rewards[1].error == "no room"
    with pytest.raises(SandboxError, match="5 programs in a row"):
        egcfg.reward_blocking([HALF] * 50, SQUARE)


def run_python(script: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


USE = """
import os, sys
import egcfg
test = egcfg.AssertTest("assert f(3) == 9")
problem = egcfg.Problem(task_id="t", description="", entry_point="f", visible_tests=[test])
def share():
    return egcfg.reward_blocking(["def f(x): return x * x"], problem)[0].share
"""


def test_a_forked_process_judges_too_and_nothing_is_left_at_the_end() -> None:
    said = run_python(
        USE
        + """
from egcfg.evaluation import reward as module
print(share(), module._shared.sandbox._pool.server.pid, flush=True)
child = os.fork()
if not child:
    print(share(), module._shared.sandbox._pool.server.pid, flush=True)
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
print(share(), flush=True)
"""
    )
    ours, theirs, again = said.splitlines()
    assert [line.split()[0] for line in (ours, theirs, again)] == ["1.0"] * 3
    servers = [int(line.split()[1]) for line in (ours, theirs)]
    assert len(set(servers)) == 2
    for server in servers:
        with pytest.raises(ProcessLookupError):
            module.os.kill(server, 0)


def test_importing_egcfg_loads_nothing_for_it() -> None:
    said = run_python("import sys, egcfg\nprint([m for m in sys.modules if 'evaluation' in m])")
    assert said.strip() == "[]"
