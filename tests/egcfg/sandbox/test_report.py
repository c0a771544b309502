"""What the sandbox says about itself: levels, layers, the canary."""

from __future__ import annotations

import pytest

from egcfg.errors import SandboxError
from egcfg.problem import Problem
from egcfg.sandbox import LAYERS, Level, Sandbox, SandboxReport
from egcfg.scorer import Score, TestResult, TestStatus
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
def test_the_canary_notices_wrong_verdicts(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, always: TestStatus
) -> None:
    def score(_: AssertsScorer, problem: Problem, _code: str, _sandbox: Sandbox) -> Score:
        name = problem.scoring_tests[0].name
        return Score(results=[TestResult(name=name, status=always, seconds=0.0)])

    monkeypatch.setattr(AssertsScorer, "score", score)
    with pytest.raises(SandboxError, match="no verdict here can be trusted"):
        sandbox.canary()
