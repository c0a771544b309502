"""How a component is called: where its methods run, and what becomes of what goes wrong in them."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from types import coroutine
from typing import Any

import pytest

from egcfg.errors import BackendError, PluginError
from egcfg.plugins import component as component_module
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create, title_of

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Opened = Callable[..., OpenComponent]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open a component that has the given methods."""
    components = []

    def open_one(**methods: Callable[..., Any]) -> OpenComponent:
        instance = type("Backend", (), {n: staticmethod(m) for n, m in methods.items()})()
        components.append(OpenComponent(Kind.BACKEND, instance, "the backend 'odd' of odd 1.0"))
        return components[-1]

    yield open_one
    for one in components:
        one.close()


@coroutine
def pause(what: object = None) -> Generator[object, Any, Any]:
    return (yield what)


# --- where methods run --------------------------------------------------------------------------


def test_a_coroutine_runs_on_the_event_loop(opened: Opened, run: Run) -> None:
    async def score(one: int, other: int) -> tuple[int, int]:
        before = threading.get_ident()
        await asyncio.sleep(0)
        assert before == threading.get_ident()
        return one + other, before

    assert run(opened(score=score).call("score", 1, 2)) == (3, threading.get_ident())


def test_a_coroutine_that_awaits_nothing_needs_no_event_loop(opened: Opened) -> None:
    async def score() -> str:
        return "answer"

    with pytest.raises(StopIteration) as stop:
        opened(score=score).call("score").send(None)
    assert stop.value.value == "answer"


def test_what_a_coroutine_waits_for_comes_through_to_whoever_drives_it(opened: Opened) -> None:
    async def score() -> list[object]:
        answers = [await pause("first")]
        try:
            await pause("second")
        except KeyError as error:
            answers.append(error.args[0])
        return answers

    call = opened(score=score).call("score")
    assert call.send(None) == "first"
    assert call.send(10) == "second"
    with pytest.raises(StopIteration) as stop:
        call.throw(KeyError("thrown in"))
    assert stop.value.value == [10, "thrown in"]


def test_a_plain_method_runs_in_a_thread_and_the_loop_goes_on(opened: Opened, run: Run) -> None:
    may_end = threading.Event()

    def score() -> int:
        assert may_end.wait(60)
        return threading.get_ident()

    async def both() -> int:
        call = asyncio.create_task(opened(score=score).call("score"))
        await asyncio.sleep(0)
        may_end.set()  # only a loop that is free comes to this
        thread: int = await call
        return thread

    assert run(both()) != threading.get_ident()


def test_plain_methods_run_one_at_a_time_in_the_order_of_their_calls(
    opened: Opened, run: Run
) -> None:
    events: list[tuple[str, int]] = []
    lock = threading.Lock()

    def score(number: int) -> int:
        assert lock.acquire(blocking=False), "two calls at once"
        events.append(("begins", number))
        time.sleep(0.002)
        events.append(("ends", number))
        lock.release()
        return number * number

    async def all_at_once() -> list[int]:
        one = opened(score=score, sample=score)
        calls = [one.call("score" if n % 2 else "sample", n) for n in range(12)]
        return await asyncio.gather(*calls)

    assert run(all_at_once()) == [n * n for n in range(12)]
    assert events == [(what, n) for n in range(12) for what in ("begins", "ends")]


def test_two_components_do_not_wait_for_each_other(opened: Opened, run: Run) -> None:
    meeting = threading.Barrier(2)

    def score() -> int:
        return meeting.wait(60)

    async def both() -> list[int]:
        return await asyncio.gather(*[opened(score=score).call("score") for _ in range(2)])

    assert sorted(run(both())) == [0, 1]


def test_a_plain_method_may_hand_a_coroutine_on(opened: Opened, run: Run) -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return threading.get_ident()

    assert run(opened(score=lambda: answer()).call("score")) == threading.get_ident()


def test_a_plain_method_that_is_cancelled_does_not_block_the_loop(opened: Opened, run: Run) -> None:
    begun, may_end = threading.Event(), threading.Event()
    called: list[str] = []

    def score(name: str) -> str:
        called.append(name)
        begun.set()
        assert may_end.wait(60)
        return name

    async def cancel_some() -> str:
        one = opened(score=score)
        running, waiting = (asyncio.create_task(one.call("score", n)) for n in ("first", "second"))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        for task in (running, waiting):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert not may_end.is_set()  # nobody waited for the method
        last = asyncio.create_task(one.call("score", "third"))
        await asyncio.sleep(0)
        may_end.set()
        answer: str = await last
        return answer

    assert run(cancel_some()) == "third"
    assert called == ["first", "third"]  # one that was cancelled in time is never called


def test_a_call_whose_loop_is_gone_ends_unheard(opened: Opened) -> None:
    begun, may_end, ended = (threading.Event() for _ in range(3))

    def score() -> None:
        begun.set()
        assert may_end.wait(60)
        ended.set()

    one = opened(score=score)

    async def leave() -> None:
        call = asyncio.create_task(one.call("score"))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        call.cancel()

    asyncio.run(leave())
    may_end.set()
    assert ended.wait(60)

    async def again() -> bool:
        await one.call("score")
        return True

    assert asyncio.run(again())


# --- what goes wrong ----------------------------------------------------------------------------


def raising(error: BaseException) -> tuple[Callable[[], object], Callable[[], object]]:
    async def coroutine_method() -> None:
        await asyncio.sleep(0)
        raise error

    def plain_method() -> None:
        raise error

    return coroutine_method, plain_method


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (RuntimeError("two\nlines  and blanks"), "RuntimeError: two lines and blanks"),
        (KeyError(), "KeyError"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_what_a_component_raises_is_told_in_one_line_with_its_task(
    opened: Opened, run: Run, error: BaseException, said: str, plain: bool
) -> None:
    one = opened(score=raising(error)[plain])
    with pytest.raises(PluginError) as caught:
        run(one.call("score", task="t/1"))
    assert str(caught.value) == (
        "the backend 'odd' of odd 1.0 is broken on task t/1: "
        f"score raised {said}; report it to its authors"
    )
    assert caught.value.__cause__ is error
    with pytest.raises(PluginError, match=r"odd 1\.0 is broken: score raised"):
        run(one.call("score"))


def test_a_stop_iteration_of_a_plain_method_is_an_error_like_any_other(
    opened: Opened, run: Run
) -> None:
    """An event loop's futures refuse to hold one: who waits for it would wait for ever."""
    one = opened(score=lambda: next(iter(())))

    async def ask() -> None:
        await asyncio.wait_for(one.call("score", task="t/1"), timeout=60)

    with pytest.raises(PluginError, match=r"score raised .*StopIteration"):
        run(ask())


def test_a_method_that_is_not_there_is_the_components_fault(opened: Opened, run: Run) -> None:
    said = "score raised AttributeError: 'Backend' object has no attribute 'score'"
    with pytest.raises(PluginError, match=said):
        run(opened().call("score"))
    with pytest.raises(PluginError, match=said):
        opened().ask("score")


@pytest.mark.parametrize("plain", [False, True])
def test_an_error_that_a_component_raises_on_purpose_stays_what_it_is(
    opened: Opened, run: Run, plain: bool
) -> None:
    refusal = BackendError("the server is down; try again later")
    with pytest.raises(BackendError) as caught:
        run(opened(score=raising(refusal)[plain]).call("score", task="t/1"))
    assert caught.value is refusal


def test_what_only_computes_is_asked_right_here_with_the_same_errors(opened: Opened) -> None:
    refusal = BackendError("no")

    def refuse() -> None:
        raise refusal

    one = opened(
        build=lambda number: (number, threading.get_ident()),
        fails=raising(ZeroDivisionError("zero"))[True],
        exits=raising(SystemExit(3))[True],
        refuses=refuse,
    )
    assert one.ask("build", 3) == (3, threading.get_ident())
    with pytest.raises(PluginError, match="on task t/1: fails raised ZeroDivisionError: zero;"):
        one.ask("fails", task="t/1")
    with pytest.raises(PluginError, match="exits raised SystemExit: 3;"):
        one.ask("exits")
    with pytest.raises(BackendError) as caught:
        one.ask("refuses")
    assert caught.value is refusal


def test_a_registered_component_is_named_with_its_distribution() -> None:
    tracer = create(Kind.TRACER, "full")
    title = title_of(Kind.TRACER, tracer)
    assert title.startswith("the tracer 'full' of egcfg ")
    error = OpenComponent(Kind.TRACER, tracer, title).broken("it hums", "t/1")
    assert str(error) == f"{title} is broken on task t/1: it hums; report it to its authors"

    class Own:
        """Handed over, registered nowhere."""

    assert title_of(Kind.TRACER, Own()) == f"the tracer {__name__}.{Own.__qualname__}"


# --- cancellation -------------------------------------------------------------------------------


def test_cancellation_reaches_the_coroutine(opened: Opened, run: Run) -> None:
    seen: list[str] = []

    async def score() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)  # cleaning up may wait
            seen.append("cleaned up")
            raise

    async def cancel() -> None:
        call = asyncio.create_task(opened(score=score).call("score"))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    run(cancel())
    assert seen == ["cancelled", "cleaned up"]


def test_a_call_that_is_dropped_ends_its_coroutine(opened: Opened) -> None:
    seen: list[str] = []

    async def score() -> None:
        try:
            await pause("waiting")
        except GeneratorExit:
            seen.append("closed")
            raise
        finally:
            seen.append("cleaned up")

    call = opened(score=score).call("score")
    assert call.send(None) == "waiting"
    call.close()
    assert seen == ["closed", "cleaned up"]


# --- coroutines that hold the loop --------------------------------------------------------------


def test_a_coroutine_that_holds_the_loop_is_named_once(
    opened: Opened, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(component_module, "SLOW_STEP_S", 0.01)

    async def score() -> None:
        await asyncio.sleep(0)
        begun = time.thread_time()
        while time.thread_time() - begun < 0.02:
            pass

    one = opened(score=score)
    with caplog.at_level(logging.WARNING):
        run(one.call("score"))
        run(one.call("score"))
    [message] = caplog.messages
    assert re.fullmatch(
        r"the backend 'odd' of odd 1\.0: the coroutine score kept the event loop for \d+\.\d s, "
        "and all other tasks with it; its authors should make it a plain method, which runs in a "
        "thread",
        message,
    )


@pytest.mark.parametrize("preempted", [False, True])
def test_what_a_busy_machine_takes_is_not_held_against_a_coroutine(
    opened: Opened,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    preempted: bool,
) -> None:
    """Where others had its core meanwhile, only its own work counts."""
    looks = iter(range(100)) if preempted else iter([0] * 100)
    monkeypatch.setattr(component_module, "SLOW_STEP_S", 0.01)
    monkeypatch.setattr(component_module, "_preemptions", lambda: next(looks))

    async def score() -> None:
        time.sleep(0.02)

    run(opened(score=score).call("score"))
    assert len(caplog.messages) == (not preempted)


def test_waiting_is_not_holding_the_loop(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr(component_module.time, "monotonic", lambda: now)

    async def score() -> None:
        await pause()
        await pause()

    call = opened(score=score).call("score")
    call.send(None)
    now += 1000
    call.send(None)
    now += 1000
    with pytest.raises(StopIteration):
        call.send(None)
    assert caplog.messages == []


def test_a_plain_method_may_take_its_time(
    opened: Opened, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(component_module, "SLOW_STEP_S", 0.0)
    run(opened(score=lambda: time.sleep(0.01)).call("score"))
    assert caplog.messages == []
