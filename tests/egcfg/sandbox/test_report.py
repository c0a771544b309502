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
    Sandbox,
    SandboxReport,
)
from egcfg.sandbox.clocks import Waiting
from egcfg.sandbox.judging import Finding, Verdict
from egcfg.sandbox.server_process import ServerProcess
from egcfg.sandbox.watch import Answer

Run = Callable[[Coroutine[Any, Any, Any]], Any]
ALL = dict.fromkeys(LAYERS, "active")
BUT_LIMITS = tuple(name for name in LAYERS if name not in ("rlimits", "memory limit"))


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

    async def check(_judge: object) -> None:
        sung.append("starts")
        await asyncio.sleep(0.01)
        sung.append("ends")

    async def work(sandbox: Sandbox) -> list[object]:
        first = asyncio.create_task(sandbox.canary())
        others = [sandbox.run([Execution(source="", call=Call("1"))]) for _ in range(3)]
        results = await asyncio.gather(*others, first)
        assert sung == ["starts", "ends"]
        return [result.value for (result,) in results[:3]]

    monkeypatch.setattr("egcfg.sandbox.service.check_verdicts", check)
    with closing(Sandbox()) as sandbox:
        assert run(work(sandbox)) == run(work(sandbox)) == [1, 1, 1]


def test_a_cancelled_canary_is_sung_by_the_next(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sung: list[int] = []

    async def check(_judge: object) -> None:
        sung.append(1)
        await asyncio.sleep(0 if len(sung) > 1 else 60)

    async def work(sandbox: Sandbox) -> None:
        first, second = (asyncio.create_task(sandbox.canary()) for _ in range(2))
        while not sung:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first, second])
        assert (first.cancelled(), second.exception(), len(sung)) == (True, None, 2)

    monkeypatch.setattr("egcfg.sandbox.service.check_verdicts", check)
    with closing(Sandbox()) as sandbox:
        run(work(sandbox))


def test_known_programs_that_do_not_get_done_are_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("egcfg.sandbox.canary.SIGNALS", "1 / 0")
    with (
        closing(Sandbox()) as sandbox,
        pytest.raises(SandboxError, match="known program done: exception"),
    ):
        run(sandbox.run([Execution(source="")]))


def test_strong_isolation_is_not_claimed_where_a_program_can_signal_others(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = ServerProcess.start

    async def start(*_: object) -> ServerProcess:
        server = await begin(BUT_LIMITS)
        server.layers.update(dict.fromkeys(LAYERS, "active"))
        return server

    monkeypatch.setattr(ServerProcess, "start", start)
    with closing(Sandbox()) as sandbox:
        report = run(sandbox.report())
        assert (report.missing, report.level) == ((), Level.BASIC)
        assert report.findings["other processes"] == "within reach of programs"
    with (
        closing(Sandbox(strict=True)) as sandbox,
        pytest.raises(SandboxError, match="a program can send them signals"),
    ):
        run(sandbox.run([Execution(source="")]))


def test_what_was_found_is_told_in_results(run: Run, sandbox: Sandbox) -> None:
    report = run(sandbox.report())
    assert report.findings.keys() == {*LAYERS, "other processes", "limits of time"}


def test_limits_of_time_say_what_they_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    report = SandboxReport(ALL)
    monkeypatch.setattr("egcfg.sandbox.report.waiting", lambda _: Waiting(0.0, True))
    assert report.limits_of_time == "waits for a core do not count"
    monkeypatch.setattr("egcfg.sandbox.report.waiting", lambda _: None)
    assert "stretched 4 times" in report.limits_of_time
