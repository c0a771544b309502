"""What the sandbox says about itself: levels, layers, the canary."""

from __future__ import annotations

import pytest

from egcfg.errors import SandboxError
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.scorer import Score, TestResult, TestStatus
from egcfg.sandbox import (
    LAYERS,
    Execution,
    Level,
    Limits,
    Outcome,
    Pace,
    Sandbox,
    SandboxReport,
)
from egcfg.sandbox.canary import MAX_STRETCH
from egcfg.scorers.asserts import AssertsScorer

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


def test_every_layer_is_reported(sandbox: Sandbox) -> None:
    assert set(sandbox.report().layers) == set(LAYERS)
    assert sandbox.report().layers["clean environment"] == "active"


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "clean environment"])
def test_each_layer_can_be_missing(name: str) -> None:
    with Sandbox(disabled=[name]) as sandbox:
        report = sandbox.report()
        assert report.layers[name] == "switched off"
        assert name in report.missing
        sandbox.canary()


def test_the_canary_sings(sandbox: Sandbox) -> None:
    sandbox.canary()


@pytest.mark.parametrize("always", [TestStatus.PASSED, TestStatus.FAILED, TestStatus.TIMEOUT])
def test_a_wrong_verdict_about_a_known_program_stops_the_first_of_all_others(
    monkeypatch: pytest.MonkeyPatch, always: TestStatus
) -> None:
    def score(_: AssertsScorer, problem: Problem, _code: str, _sandbox: Sandbox) -> Score:
        name = problem.scoring_tests[0].name
        return Score(results=[TestResult(name=name, status=always, seconds=0.0)])

    monkeypatch.setattr(AssertsScorer, "score", score)
    with (
        Sandbox() as sandbox,
        pytest.raises(SandboxError, match="no verdict here can be trusted"),
    ):
        sandbox.run([Execution(source="")])


def test_the_canary_sings_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sung = []

    def judge(sandbox: Sandbox) -> None:
        sung.append(sandbox)
        sandbox.run([Execution(source="")])  # as known programs are run

    monkeypatch.setattr("egcfg.sandbox.canary.check_verdicts", judge)
    with Sandbox() as sandbox:
        sandbox.canary()
        sandbox.run([Execution(source="")])
        sandbox.canary()
        assert sung == [sandbox]


@pytest.mark.parametrize(
    ("pace", "outcome"), [(Pace(), Outcome.TIMEOUT), (Pace(cpu=20, wall=20), Outcome.OK)]
)
@pytest.mark.parametrize(
    "source",
    ["import time\nwhile time.process_time() < 0.6: pass", "import time\ntime.sleep(0.6)"],
    ids=["processor time", "real time"],
)
def test_limits_of_time_are_stretched_on_a_slow_machine(
    monkeypatch: pytest.MonkeyPatch, source: str, pace: Pace, outcome: Outcome
) -> None:
    monkeypatch.setattr("egcfg.sandbox.canary.measure_pace", lambda _: pace)
    limits = Limits(cpu_seconds=0.3, wall_seconds=0.4)
    with Sandbox() as sandbox:
        (result,) = sandbox.run([Execution(source=source, limits=limits)])
        assert (sandbox.pace, result.outcome) == (pace, outcome)


def test_the_pace_is_what_known_work_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("egcfg.sandbox.canary.USUAL_SECONDS", 60.0)
    with Sandbox() as sandbox:
        assert sandbox.pace == Pace()
    monkeypatch.setattr("egcfg.sandbox.canary.USUAL_SECONDS", 1e-9)
    with Sandbox() as sandbox:
        assert sandbox.pace == Pace(cpu=MAX_STRETCH, wall=MAX_STRETCH)


def test_known_work_that_does_not_get_done_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("egcfg.sandbox.canary.WORK", "1 / 0")
    with Sandbox() as sandbox, pytest.raises(SandboxError, match="known program done: exception"):
        sandbox.run([Execution(source="")])
