"""Recording a run, and showing how its results came about."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BASE = ("--backend", "scripted", "--dataset", "mine.jsonl", "-p", "chat", "--model", "scripted")
FOLDER = Path("results", "mine", "scripted")


@pytest.fixture
def recorded(egcfg: Callable[..., Any], problems: Path) -> Path:  # noqa: ARG001 - it is read
    """Return the result file of a guided unit whose record is kept."""
    ran = egcfg("run", "--record", *BASE, "-g", "1", "--task", "square", "--tracer", "full")
    assert ran.status == 0, ran.err
    [result] = FOLDER.rglob("task_id=square_gamma=1.0.json")
    return result


def test_each_result_names_its_record_beside_it(recorded: Path) -> None:
    name = json.loads(recorded.read_bytes())["record"]
    assert name == "task_id=square_gamma=1.0.record.jsonl.gz"
    assert recorded.with_name(name).is_file()


@pytest.mark.usefixtures("problems")
def test_without_the_flag_nothing_is_recorded(egcfg: Callable[..., Any]) -> None:
    assert egcfg("run", *BASE, "-g", "1").status == 0
    assert list(FOLDER.rglob("*.record.jsonl.gz")) == []
    [result] = FOLDER.rglob("task_id=square*.json")
    assert "record" not in json.loads(result.read_bytes())
    ran = egcfg("show", str(result))
    assert ran.status == 1
    assert "egcfg run --record writes one" in ran.err


@pytest.mark.usefixtures("problems")
def test_recording_changes_no_text(egcfg: Callable[..., Any]) -> None:
    def responses(folder: str, *flags: str) -> dict[str, str]:
        ran = egcfg("run", *flags, *BASE, "-g", "0", "-g", "3", "--results-dir", folder)
        assert ran.status == 0, ran.err
        files = Path(folder).rglob("task_id=*.json")
        return {file.name: json.loads(file.read_bytes())["response"] for file in files}

    assert responses("kept", "--record") == responses("plain")


def test_it_shows_what_explain_shows(egcfg: Callable[..., Any], recorded: Path) -> None:
    shown = egcfg("show", str(recorded))
    explained = egcfg(
        *("solve", "Square x.", "--test", "assert f(3) == 9", "--function", "f"),
        *("--backend", "scripted", "-p", "chat", "-g", "1", "--explain", "--tracer", "full"),
        *("--method", "egcfg"),
    )

    assert (shown.status, shown.err) == (0, "")
    assert "=== task square, ns3t0.7d2_chat_ln, gamma 1" in shown.out
    assert "  forced  | ```python" in shown.out
    assert "  decided |     return x * x" in shown.out
    assert "f(3): ok" in shown.out
    assert "passed: assert f(3) == 9" in shown.out
    kinds = ("--- step", "  decided |", "  signal:", "  forced  |")
    of_explain = [line for line in explained.err.split("\n") if line.startswith(kinds)]
    of_show = [line for line in shown.out.split("\n") if line.startswith(kinds)]
    assert [line for line in of_show if "signal" not in line] == [
        line for line in of_explain if "signal" not in line
    ]


def test_the_record_and_its_result_show_the_same(egcfg: Callable[..., Any], recorded: Path) -> None:
    record = recorded.with_name(json.loads(recorded.read_bytes())["record"])
    assert egcfg("show", str(record)).out == egcfg("show", str(recorded)).out


def test_what_an_earlier_step_has_shown_is_not_repeated(
    egcfg: Callable[..., Any], recorded: Path
) -> None:
    shown = egcfg("show", str(recorded)).out
    programs = [part.partition("\n  program")[0] for part in shown.split("\n  program ")[1:]]
    whole = [part.partition("\n")[2] for part in programs if "\n    | " in part]
    assert len(whole) == len(set(whole)) > 1


def test_one_line_is_shown_alone(egcfg: Callable[..., Any], recorded: Path) -> None:
    ran = egcfg("show", str(recorded), "--line", "2")
    assert ran.status == 0
    assert ran.out.count("--- step") == 1
    assert "decided |     return x * x" in ran.out
    missing = egcfg("show", str(recorded), "--line", "99")
    assert missing.status == 2
    assert "no step decided line 99 of the program" in missing.err


def test_colour_is_for_terminals_that_want_it(
    recorded: Path, start: Callable[..., Any], egcfg: Callable[..., Any]
) -> None:
    assert "\x1b[" not in egcfg("show", str(recorded)).out
    for wanted, environment in ((True, {"FORCE_COLOR": "1"}), (False, {"NO_COLOR": "1"})):
        child = start("show", str(recorded.resolve()), **environment, TERM="xterm", COLUMNS="60")
        out, err = child.communicate()
        assert child.returncode == 0, err
        assert ("\x1b[" in out) is wanted


@pytest.mark.usefixtures("problems")
def test_hostile_text_drives_no_terminal(egcfg: Callable[..., Any]) -> None:
    code = "def f(x):\\n    return '\x1b[31m\x07'"
    ran = egcfg("run", "--record", *BASE, "-g", "1", "-o", f"backend.code={code}", "-q")
    assert ran.status == 0, ran.err
    [result] = FOLDER.rglob("task_id=square_gamma=1.0.json")
    shown = egcfg("show", str(result))
    assert shown.status == 0
    assert "\x1b" not in shown.out
    assert "\\x1b[31m" in shown.out


@pytest.mark.usefixtures("problems")
def test_no_key_and_nothing_of_the_environment_is_in_a_record(
    egcfg: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import gzip

    monkeypatch.setenv("OPENAI_API_KEY", "sk-sentinel-of-a-test")
    code = "import os\\ndef f(x):\\n    return dict(os.environ)"
    egcfg("run", "--record", *BASE, "-g", "1", "-o", f"backend.code={code}", "-q")
    records = list(FOLDER.rglob("*.record.jsonl.gz"))
    assert len(records) == 2
    for record in records:
        assert b"sentinel" not in gzip.decompress(record.read_bytes())


@pytest.mark.usefixtures("problems")
def test_a_method_that_asks_is_shown(egcfg: Callable[..., Any]) -> None:
    ran = egcfg(
        *("run", "--record", *BASE, "--task", "double", "--method", "best_of_n"),
        *("-o", "method.n=2"),
    )
    assert ran.status == 0, ran.err
    [result] = FOLDER.rglob("task_id=double.json")
    shown = egcfg("show", str(result)).out
    assert "--- asked the model (greedy, temperature 0)" in shown
    assert "--- ran a program on the visible tests" in shown
    assert "--- answer (greedy), after " in shown
    assert "failed: assert f(3) == 6" in shown
    line = egcfg("show", str(result), "--line", "1")
    assert line.status == 2
    assert "not decoded line by line" in line.err


def test_an_unknown_tracer_is_told_and_another_shows(
    egcfg: Callable[..., Any], recorded: Path
) -> None:
    import gzip

    record = recorded.with_name(json.loads(recorded.read_bytes())["record"])
    content = gzip.decompress(record.read_bytes())
    record.write_bytes(gzip.compress(content.replace(b'"task_id"', b'"tracer":"gone","task_id"')))
    ran = egcfg("show", str(recorded))
    assert ran.status == 0
    assert "the tracer 'gone' cannot be opened" in ran.err
    assert "f(3): ok" in ran.out


@pytest.mark.usefixtures("problems")
def test_a_killed_run_leaves_no_half_record(
    start: Callable[..., Any], egcfg: Callable[..., Any], tmp_path: Path
) -> None:
    slow = ("-o", "backend.seconds_per_question=0.005")
    child = start("run", "--record", *BASE, "-g", "1", *slow)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.claim*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    for record in tmp_path.rglob("*.record.jsonl.gz"):
        assert egcfg("show", str(record)).status == 0
    again = egcfg("run", "--record", *BASE, "-g", "1", *slow)
    assert again.status == 0, again.err
    for result in FOLDER.rglob("task_id=*.json"):
        assert egcfg("show", str(result)).status == 0
