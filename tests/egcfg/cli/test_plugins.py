"""``egcfg plugins`` and its check, and the completion of names in a shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from egcfg.cli.program import invoke
from egcfg.plugins.availability import why_unavailable
from egcfg.plugins.hookspecs import Component, Kind

WRONG = """
from attrs import frozen
from egcfg import Component, Kind, Trace, Tracer, hookimpl

class Long(Tracer):
    @frozen
    class Options:
        more: str = ""

    def __init__(self, options):
        self.options = options

    async def trace(self, requests, sandbox):
        results = await sandbox.run([request.execution() for request in requests])
        return [Trace.of(*each) for each in zip(requests, results, strict=True)]

    def render(self, trace, max_chars):
        return f"{trace.call} gave {trace.result} {trace.raised}" + self.options.more

@hookimpl
def egcfg_components():
    return [Component(kind=Kind.TRACER, name="long", target="egcfg_long:Long", summary="long")]
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return a folder in which a package with a wrong tracer is installed."""
    (tmp_path / "egcfg_long.py").write_text(WRONG)
    info = tmp_path / "egcfg_long-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: egcfg-long\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[egcfg]\nlong = egcfg_long\n")
    return tmp_path


def egcfg(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "egcfg", *arguments],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_wrong_component_is_told_what_to_mend(installed: Path) -> None:
    ran = egcfg(installed, "plugins", "check", "tracer.long", "-o", "tracer.more=....")
    assert ran.returncode == 1, ran.stderr
    assert ran.stdout.startswith("tracer long\n  ok       A trace names the program")
    assert "  failed   a_text_keeps_within_its_limit\n" in ran.stdout
    assert "shorten the text, and say in it what was left out" in ran.stdout
    assert ran.stdout.endswith("8 ok, 1 failed\n")


def test_a_check_can_be_read_by_programs(tmp_path: Path) -> None:
    ran = egcfg(tmp_path, "plugins", "check", "prompt.chat", "--format", "json")
    assert ran.returncode == 0, ran.stderr
    [(name, results)] = json.loads(ran.stdout).items()
    assert name == "prompt.chat"
    assert {each["verdict"] for each in results} == {"ok"}
    assert all(each["rule"].endswith(".") for each in results)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("chatt", "no component named 'chatt'; did you mean 'chat'?"),
        ("tracer.chat", "no tracer named 'chat'; choose from"),
    ],
)
def test_an_unknown_component_is_refused(tmp_path: Path, name: str, said: str) -> None:
    ran = egcfg(tmp_path, "plugins", "check", name)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr


def test_the_listing_says_what_cannot_be_opened_here(tmp_path: Path) -> None:
    without = egcfg(tmp_path, "plugins", FIREWORKS_API_KEY="")
    assert "cannot be opened here: set the environment variable FIREWORKS_API_KEY" in without.stdout
    with_key = egcfg(tmp_path, "plugins", FIREWORKS_API_KEY="x")
    assert "FIREWORKS_API_KEY\n" not in with_key.stdout


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, None),
        ({"target": "egcfg.nowhere:It"}, "there is no module egcfg.nowhere; its authors"),
        ({"target": "no_such_package.it:It"}, "its package does not import: ModuleNotFoundError"),
        ({"extra": "egcfg[tables]"}, None),
        ({"extra": "no-such-distribution[gpu]"}, "lacks no-such-distribution; run: pip install"),
        ({"variables": ("NO_SUCH_VARIABLE",)}, "set the environment variable NO_SUCH_VARIABLE"),
    ],
)
def test_what_is_missing_is_named_with_the_next_step(
    facts: dict[str, object], reason: str | None
) -> None:
    values = {"kind": Kind.SCORER, "name": "it", "target": "egcfg.scorers.asserts:AssertsScorer"}
    found = why_unavailable(Component(**{**values, "summary": "", **facts}))  # type: ignore[arg-type]
    assert found == reason if reason is None else (found or "").startswith(reason)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("egcfg run --prompt ", "chat"),
        ("egcfg --prompt ", "chat"),
        ("egcfg --prompt c", "completion"),
        ("egcfg --backend ", "hf"),
        ("egcfg --tracer m", "minimal"),
        ("egcfg --unit ", "token"),
        ("egcfg --pro", "--prompt"),
        ("egcfg pl", "plugins"),
        ("egcfg plugins ", "check"),
    ],
)
def test_a_shell_completes_commands_flags_and_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, wanted: str
) -> None:
    for name, value in asked_to_complete(words).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):  # as click ends it
        invoke([])
    assert_completed(capsys.readouterr().out, words, wanted)


def test_a_shell_completes_in_a_process_of_its_own(tmp_path: Path) -> None:
    words = "egcfg run --prompt c"
    ran = egcfg(tmp_path, **asked_to_complete(words))
    assert_completed(ran.stdout, words, "completion")


def asked_to_complete(words: str) -> dict[str, str]:
    """Return the environment in which a shell asks for what completes the last word."""
    count = len(words.split()) - bool(words.rpartition(" ")[2])
    return {"_EGCFG_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(count)}


def assert_completed(said: str, words: str, wanted: str) -> None:
    values = [line.partition(",")[2] for line in said.splitlines()]
    assert wanted in values
    assert all(value.startswith(words.rpartition(" ")[2]) for value in values)
