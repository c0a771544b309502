"""`solve` and `solve_steps` for callers without an event loop: they block, cancel and clean up."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from attrs import frozen

import egcfg
from egcfg import AssertTest, Engine, Problem, Sandbox
from egcfg.errors import BackendError, ConfigError
from egcfg.interfaces.prompt import Prompt, PromptBuilder
from egcfg.interfaces.solution import LineStep, Solution
from egcfg.interfaces.usage import Usage
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions

PATIENCE = 120.0
"""Seconds after which something that should happen at once counts as not happening."""

PROBLEM = Problem(
    task_id="t/1",
    description="Return one more.",
    entry_point="f",
    visible_tests=[AssertTest("assert f(7) == 8")],
)


class Fenced(PromptBuilder):
    """Starts the answer with a fence."""

    @frozen
    class Options:
        """None."""

    def build(self, problem: Problem) -> Prompt:
        return Prompt(
            before=f"{problem.description}\n", after="Answer:\n", response_prefix="```python\n"
        )


ANSWER = "def f(x):\n    y = x\n    return y + 1\n```"


def script(text: str) -> str:
    return ANSWER[len(text.rpartition("Answer:\n```python\n")[2]) :]


class Watched(ScriptedBackend):
    """Tells what happens to it, and in which thread."""

    events: list[str]
    threads: set[int]

    async def open(self) -> Usage:
        self._note("open")
        return Usage()

    async def close(self) -> None:
        self._note("close")

    async def score(self, requests: Any) -> Any:
        self._note("score")
        return await super().score(requests)

    def _note(self, event: str) -> None:
        self.events.append(event)
        self.threads.add(threading.get_ident())


def pairs(events: list[str]) -> tuple[int, int]:
    return events.count("open"), events.count("close")


def watched(cls: type[Watched] = Watched) -> Any:
    backend = cls(ScriptedOptions(script=script))
    backend.events, backend.threads = [], set()
    return backend


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with closing(Sandbox()) as opened:
        yield opened


def steps_of(backend: Watched, sandbox: Sandbox, **more: Any) -> Any:
    given = {"backend": backend, "prompt": Fenced(), "sandbox": sandbox, "gamma": 0}
    return egcfg.solve_steps(PROBLEM, **(given | more))


def loop_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "egcfg loop"]


# --- blocking callers ---------------------------------------------------------------------------


def test_the_last_step_is_the_solution(sandbox: Sandbox) -> None:
    backend = watched()
    *lines, solution = steps_of(backend, sandbox)
    assert all(isinstance(line, LineStep) for line in lines)
    assert "".join(line.text for line in lines) == ANSWER
    assert isinstance(solution, Solution)
    assert solution.passed
    assert (backend.events[0], backend.events[-1]) == ("open", "close")
    assert threading.get_ident() not in backend.threads
    again = egcfg.solve(PROBLEM, backend=backend, prompt=Fenced(), sandbox=sandbox, gamma=0)
    assert again.generation.ids == solution.generation.ids
    assert loop_threads() == []


def test_a_notebooks_running_loop_is_no_obstacle(sandbox: Sandbox) -> None:
    async def cell() -> tuple[Solution, list[Any]]:
        backend = watched()
        solved = egcfg.solve(PROBLEM, backend=backend, prompt=Fenced(), sandbox=sandbox, gamma=0)
        return solved, list(steps_of(backend, sandbox))

    solved, steps = asyncio.run(cell())
    assert solved.passed
    assert steps[-1].generation.ids == solved.generation.ids


def test_steps_run_no_further_than_they_are_asked_to(sandbox: Sandbox) -> None:
    backend = watched()
    steps = steps_of(backend, sandbox)
    assert backend.events == []
    seen = []
    for _ in range(3):
        seen.append(next(steps).text)
        questions = len("".join(seen))  # a token is a character, and each is asked for
        time.sleep(0.02)
        assert backend.events == ["open", *["score"] * questions]
    steps.close()
    assert backend.events[-1] == "close"


@pytest.mark.parametrize("left", ["closed", "dropped", "thrown into"])
def test_steps_that_are_left_close_what_was_opened(sandbox: Sandbox, left: str) -> None:
    backend = watched()
    steps = steps_of(backend, sandbox)
    next(steps)
    assert pairs(backend.events) == (1, 0)
    if left == "closed":
        steps.close()
    elif left == "dropped":
        del steps
    else:
        with pytest.raises(KeyboardInterrupt):
            steps.throw(KeyboardInterrupt)
    assert pairs(backend.events) == (1, 1)
    assert backend.events[-1] == "close"
    assert loop_threads() == []


def test_steps_in_a_cycle_of_references_are_ended_by_whoever_collects_it(sandbox: Sandbox) -> None:
    """Even if that is the loop's own thread, which must not wait for itself."""
    ended: list[int] = []

    class Collecting(Watched):
        async def score(self, requests: Any) -> Any:
            if cycle.ready:
                cycle.ready = False
                gc.collect()
            return await super().score(requests)

    class Cycle:
        ready = False

    async def endless() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)
            ended.append(threading.get_ident())

    cycle = Cycle()
    backend = watched(Collecting)
    with Engine(backend=backend, prompt=Fenced(), sandbox=sandbox) as engine:
        forgotten: dict[str, Any] = {"steps": engine.blocking.iterate(endless())}
        forgotten["itself"] = forgotten
        next(forgotten["steps"])
        del forgotten
        cycle.ready = True
        assert egcfg.solve(PROBLEM, engine=engine, gamma=0).passed
    assert not cycle.ready
    assert {*ended} <= backend.threads
    assert len(ended) == 1


def test_an_error_comes_out_as_it_is_after_everything_is_closed(sandbox: Sandbox) -> None:
    class Failing(Watched):
        async def score(self, requests: Any) -> Any:
            if len(self.events) > 5:
                raise BackendError("the server is gone; start it again")
            return await super().score(requests)

    backend = watched(Failing)
    with pytest.raises(BackendError, match=r"^the server is gone; start it again$"):
        list(steps_of(backend, sandbox))
    assert backend.events[-1] == "close"
    assert loop_threads() == []


def test_an_engine_is_opened_once_for_many_problems(sandbox: Sandbox) -> None:
    backend = watched()
    with Engine(backend=backend, prompt=Fenced(), sandbox=sandbox) as engine:
        first, second = (egcfg.solve(PROBLEM, engine=engine, gamma=0) for _ in range(2))
        assert backend.events.count("open") == 1
        assert "close" not in backend.events
        # One that is left half-way costs the engine nothing.
        next(egcfg.solve_steps(PROBLEM, engine=engine, gamma=0))
        third = egcfg.solve(PROBLEM, engine=engine, gamma=0)
    assert first.generation.ids == second.generation.ids == third.generation.ids
    assert len(backend.threads) == 1
    assert (backend.events.count("open"), backend.events.count("close")) == (1, 1)
    assert backend.events[-1] == "close"
    assert loop_threads() == []


def test_what_an_engine_has_already_cannot_be_given_again() -> None:
    with (
        Engine(backend=watched(), prompt=Fenced()) as engine,
        pytest.raises(ConfigError, match="the engine has its tracer already; leave tracer out"),
    ):
        egcfg.solve(PROBLEM, engine=engine, tracer="full")
    assert loop_threads() == []


# --- Ctrl-C -------------------------------------------------------------------------------------

CHILD = """
import asyncio, os, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore it

import egcfg
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions

def say(text):
    os.write(1, f"{text}\\n".encode())

class Waiting(ScriptedBackend):
    async def close(self):
        say("closed")

    METHODS

problem = egcfg.Problem(
    task_id="1", description="", entry_point="f",
    visible_tests=[egcfg.AssertTest("assert f(1) == 2")],
)
try:
    egcfg.solve(
        problem, backend=Waiting(ScriptedOptions(script=lambda _: "x")), prompt="long_code"
    )
except KeyboardInterrupt:
    say("interrupted")
"""
PATIENT = """
    async def score(self, requests):
        say("asked")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            say("cancelled")
            await asyncio.sleep(0)
            say("cleaned up")
            raise
"""
STUBBORN = """
    async def score(self, requests):
        say("asked")
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                say("cancelled")
"""
DEAF = """
    async def score(self, requests):
        say("asked")
        try:
            await asyncio.Event().wait()
        finally:
            say("cancelled")
            time.sleep(10**6)  # holds the loop itself
"""
PLAIN = """
    def score(self, requests):
        say("asked")
        time.sleep(10**6)

    @property
    def close(self):
        say("closing")  # it is asked for, and then waits for its turn
        return lambda: say("closed")
"""


class Child:
    """A process that solves with a model that never answers."""

    def __init__(self, score: str) -> None:
        code = CHILD.replace("METHODS", score.strip())
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, said: str) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line == said, (line, self.process.stderr and self.process.stderr.read())

    def interrupt(self) -> None:
        os.kill(self.process.pid, signal.SIGINT)

    def end(self) -> tuple[int, list[str], str]:
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out.split("\n")[:-1], err


@pytest.fixture
def child() -> Iterator[Callable[[str], Child]]:
    started: list[Child] = []

    def start(score: str) -> Child:
        started.append(Child(score))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        for pipe in (one.process.stdout, one.process.stderr):
            assert pipe is not None
            pipe.close()


def test_ctrl_c_is_raised_after_the_cleanup_ran(child: Callable[[str], Child]) -> None:
    solving = child(PATIENT)
    solving.wait_for("asked")
    solving.interrupt()
    status, said, err = solving.end()
    assert said == ["cancelled", "cleaned up", "closed", "interrupted"]
    assert (status, err) == (0, "")


@pytest.mark.parametrize("score", [STUBBORN, DEAF], ids=["stubborn", "deaf"])
def test_a_second_ctrl_c_does_not_wait_for_a_cleanup_that_hangs(
    child: Callable[[str], Child], score: str
) -> None:
    solving = child(score)
    solving.wait_for("asked")
    solving.interrupt()
    solving.wait_for("cancelled")
    solving.interrupt()
    status, said, err = solving.end()
    assert "interrupted" in said
    assert (status, err) == (0, "")


def test_a_second_ctrl_c_does_not_wait_for_a_plain_method(child: Callable[[str], Child]) -> None:
    solving = child(PLAIN)
    solving.wait_for("asked")
    solving.interrupt()
    solving.wait_for("closing")
    solving.interrupt()
    status, said, err = solving.end()
    assert said == ["interrupted"]
    assert (status, err) == (0, "")


def test_a_process_ends_that_left_its_steps_half_way() -> None:
    code = CHILD.replace("METHODS", "").partition("try:\n    egcfg")[0]
    code += """
steps = egcfg.solve_steps(
    problem, backend=Waiting(ScriptedOptions(script=lambda text: "x\\n"[text.endswith("x"):])),
    prompt="long_code", gamma=0,
)
say(len(next(steps).text))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "2\nclosed\n"
