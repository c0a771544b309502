"""What the sandbox says about itself: levels, layers, the canary."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any

import pytest

from egcfg.errors import SandboxError
from egcfg.sandbox import (
    LAYERS,
    Call,
    Execution,
    ExecutionResult,
    Level,
    Limits,
    Outcome,
    Pace,
    Sandbox,
    SandboxReport,
)
from egcfg.sandbox.canary import MAX_STRETCH
from egcfg.sandbox.judging import Finding, Verdict
from egcfg.sandbox.watch import Answer

Run = Callable[[Coroutine[Any, Any, Any]], Any]
ALL = dict.fromkeys(LAYERS, "active")


@pytest.mark.parametrize(
    ("missing", "level"),
    [
        ((), Level.FULL),
        (("landlock",), Level.STRONG),
        (("mount namespace", "pid namespace", "network namespace"), Level.STRONG),
        (("mount namespace", "landlock"), Level.BASIC),
        (("seccomp", "network namespace"), Level.BASIC),
        (("rlimits",), Level.NONE),
        (("memory limit",), Level.NONE),
    ],
)
def test_the_level_follows_from_the_layers(missing: tuple[str, ...], level: Level) -> None:
    report = SandboxReport(ALL | dict.fromkeys(missing, "not here"))
    assert (report.level, set(report.missing)) == (level, set(missing))


def test_every_layer_is_reported(run: Run, sandbox: Sandbox) -> None:
    report = run(sandbox.report())
    assert set(report.layers) == set(LAYERS)
    assert report.layers["clean environment"] == "active"


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "clean environment"])
def test_each_layer_can_be_missing(run: Run, name: str) -> None:
    with closing(Sandbox(disabled=[name])) as sandbox:
        report = run(sandbox.report())
        assert report.layers[name] == "switched off"
        assert name in report.missing
        run(sandbox.canary())


def test_the_canary_sings(run: Run, sandbox: Sandbox) -> None:
    run(sandbox.canary())


@pytest.mark.parametrize("always", [Finding.PASSED, Finding.FAILED, Finding.TIMEOUT])
def test_a_wrong_verdict_about_a_known_program_stops_the_first_of_all_others(
    run: Run, monkeypatch: pytest.MonkeyPatch, always: Finding
) -> None:
    def misread(program: ExecutionResult, _: Answer) -> Verdict:
        return Verdict(finding=always, message="", program=program)

    monkeypatch.setattr("egcfg.sandbox.service.read_verdict", misread)
    with (
        closing(Sandbox()) as sandbox,
        pytest.raises(SandboxError, match="no verdict here can be trusted"),
    ):
        run(sandbox.run([Execution(source="")]))


def test_the_canary_sings_once_for_all_that_wait_for_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sung: list[str] = []

    async def measure(_run: object, _count: int) -> Pace:
        sung.append("starts")
        await asyncio.sleep(0.01)
        sung.append("ends")
        return Pace(cpu=2)

    async def work(sandbox: Sandbox) -> list[object]:
        first = asyncio.create_task(sandbox.canary())
        others = [sandbox.run([Execution(source="", call=Call("1"))]) for _ in range(3)]
        results = await asyncio.gather(*others, sandbox.pace(), first)
        assert sung == ["starts", "ends"]
        return [*(result.value for (result,) in results[:3]), results[3]]

    monkeypatch.setattr("egcfg.sandbox.service.measure_pace", measure)
    with closing(Sandbox()) as sandbox:
        assert run(work(sandbox)) == run(work(sandbox)) == [1, 1, 1, Pace(cpu=2)]


def test_a_cancelled_canary_is_sung_by_the_next(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sung: list[int] = []

    async def measure(_run: object, _count: int) -> Pace:
        sung.append(1)
        await asyncio.sleep(0 if len(sung) > 1 else 60)
        return Pace()

    async def work(sandbox: Sandbox) -> None:
        first, second = (asyncio.create_task(sandbox.canary()) for _ in range(2))
        while not sung:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first, second])
        assert (first.cancelled(), second.exception(), len(sung)) == (True, None, 2)

    monkeypatch.setattr("egcfg.sandbox.service.measure_pace", measure)
    with closing(Sandbox()) as sandbox:
        run(work(sandbox))


@pytest.mark.parametrize(
    ("pace", "outcome"), [(Pace(), Outcome.TIMEOUT), (Pace(cpu=20, wall=20), Outcome.OK)]
)
@pytest.mark.parametrize(
    "source",
    ["import time\nwhile time.process_time() < 0.6: pass", "import time\ntime.sleep(0.6)"],
    ids=["processor time", "real time"],
)
def test_limits_of_time_are_stretched_on_a_slow_machine(
    run: Run, monkeypatch: pytest.MonkeyPatch, source: str, pace: Pace, outcome: Outcome
) -> None:
    async def measure(_run: object, _count: int) -> Pace:
        return pace

    monkeypatch.setattr("egcfg.sandbox.service.measure_pace", measure)
    limits = Limits(cpu_seconds=0.3, wall_seconds=0.4)
    with closing(Sandbox()) as sandbox:
        (result,) = run(sandbox.run([Execution(source=source, limits=limits)]))
        assert (run(sandbox.pace()), result.outcome) == (pace, outcome)


def test_the_pace_is_what_known_work_takes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("egcfg.sandbox.canary.USUAL_SECONDS", 60.0)
    with closing(Sandbox()) as sandbox:
        assert run(sandbox.pace()) == Pace()
    monkeypatch.setattr("egcfg.sandbox.canary.USUAL_SECONDS", 1e-9)
    with closing(Sandbox()) as sandbox:
        assert run(sandbox.pace()) == Pace(cpu=MAX_STRETCH, wall=MAX_STRETCH)


def test_known_work_that_does_not_get_done_is_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("egcfg.sandbox.canary.WORK", "1 / 0")
    with (
        closing(Sandbox()) as sandbox,
        pytest.raises(SandboxError, match="known program done: exception"),
    ):
        run(sandbox.run([Execution(source="")]))
