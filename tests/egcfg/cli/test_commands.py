"""The small commands, as a user sees their output."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from egcfg.config.schema import settings

GOLDEN = Path(__file__).parent / "golden"
MODELS_RESULT = {"code": "", "results": {}, "accuracy": 0.0, "general_error": None}


def _golden(name: str, text: str) -> None:
    """Compare with a golden file; UPDATE_GOLDEN=1 rewrites it."""
    file = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN") == "1":
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a results folder with two tasks at three gammas, as another tool left it."""
    folder = tmp_path / "results" / "mbpp" / "some_model" / "ns2t0.75d2_ln"
    folder.mkdir(parents=True)
    for task, gamma, passed in [
        (11, "0.0", False),
        (11, "1.0", True),
        (11, "3.0", True),
        (12, "0.0", True),
        (12, "1.0", False),
        (12, "3.0", True),
    ]:
        stats = {"input_tokens": 100, "output_tokens": 10, "duration": "00:00:02"}
        result = {**MODELS_RESULT, "passed": passed, "has_testcase_error": False, "stats": stats}
        (folder / f"task_id={task}_gamma={gamma}.json").write_text(json.dumps(result))
    return tmp_path / "results"


# --- config -------------------------------------------------------------------------------------


def test_config_shows_each_value_with_its_source(
    egcfg: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "egcfg.toml").write_text("seed = 7\n[backend.hf]\nweights = 'int8'\n")
    monkeypatch.setenv("EGCFG_MODEL", "some/model")

    ran = egcfg("config", "-g", "0", "-g", "0.5", "-o", "tracer.layout=paper")

    assert ran.status == 0
    _golden("config.txt", ran.out)


def test_config_as_toml_is_a_file_to_start_from(egcfg: Callable[..., Any], tmp_path: Path) -> None:
    first = egcfg("config", "--format", "toml", "-d", "inf", "-o", "backend.hf.weights=int8")
    (tmp_path / "egcfg.toml").write_text(first.out)

    again = egcfg("config", "--format", "toml")

    assert again.out == first.out
    assert tomllib.loads(first.out)["horizon"] == ["inf"]


def test_config_takes_every_setting_as_a_flag(egcfg: Callable[..., Any]) -> None:
    values = {
        "unit": "token",
        "schedule": "rounds",
        "order": "cheap_first",
        "sandbox": "strict",
        "executor": "ray",
        "decoder_tests": "docstring",
        "signal": None,
        "protocol": None,  # stands against the data set
        "signal_tokens": "64",
        "prices": "input=1,output=2",
    }
    flags: list[str] = []
    for setting in settings().values():
        value = values.get(setting.name, "1")
        if value is not None:
            flags += [setting.flag] if setting.switch else [setting.flag, value]

    document = json.loads(egcfg("config", "--format", "json", *flags).out)

    for name, entry in document["settings"].items():
        assert entry["source"] == (
            "default" if values.get(name, "1") is None else settings()[name].flag
        )


def test_config_escapes_what_could_drive_the_terminal(
    egcfg: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EGCFG_MODEL", "\x1b]0;owned\x07")

    for form in ("text", "json", "toml"):
        assert "\x1b" not in egcfg("config", "--format", form).out


def test_config_for_programs_keeps_characters_that_must_not_be_shown(
    egcfg: Callable[..., Any],
) -> None:
    model = "a\u00ad\u202eb\x7f\U000e0041"

    as_json = egcfg("config", "--format", "json", "--model", model).out
    as_toml = egcfg("config", "--format", "toml", "--model", model).out

    assert json.loads(as_json)["settings"]["model"]["value"] == model
    assert tomllib.loads(as_toml)["model"] == model


# --- plugins, datasets --------------------------------------------------------------------------


def test_plugins_lists_components_by_kind(egcfg: Callable[..., Any]) -> None:
    ran = egcfg("plugins")

    assert ran.status == 0
    for heading in ("backends", "tracers", "prompts", "scorers", "datasets"):
        assert f"{heading}\n" in ran.out
    assert "answers what it is told to answer  [egcfg-scripted 1.0]\n" in ran.out
    assert "broken" not in ran.out


def test_datasets_lists_them(egcfg: Callable[..., Any]) -> None:
    ran = egcfg("datasets")

    assert ran.status == 0
    named = {line.split()[0] for line in ran.out.splitlines()}
    assert named >= {"quickstart", "mbpp", "mbpp+", "file", "hub"}


def test_datasets_shows_problems_without_their_hidden_tests(
    egcfg: Callable[..., Any], tmp_path: Path
) -> None:
    problem = {
        "task_id": "1",
        "description": "Square \x1b[31mx.\nIt is easy.",
        "tests": ["assert f(3) == 9"],
        "hidden_tests": ["assert f(4) == 16"],
    }
    (tmp_path / "mine.jsonl").write_text(json.dumps(problem) + "\n")

    ran = egcfg("datasets", "mine.jsonl")

    assert ran.status == 0, ran.err
    _golden("datasets.txt", ran.out)


def test_datasets_says_how_many_more_there_are(egcfg: Callable[..., Any]) -> None:
    ran = egcfg("datasets", "quickstart")

    assert ran.out.count("\n  hidden tests: ") == 5
    assert ran.err.startswith("5 of ")


@pytest.mark.parametrize("command", [("datasets",), ("run", "--dry-run", "--dataset")])
def test_a_protocol_is_no_data_set_and_is_told_how_to_be_chosen(
    egcfg: Callable[..., Any], command: tuple[str, ...]
) -> None:
    ran = egcfg(*command, "mbpp-1")

    assert (ran.status, ran.out) == (2, "")
    assert "'mbpp-1' is a protocol, which says who sees which tests of 'mbpp'" in ran.err
    assert "--protocol mbpp-1; `egcfg datasets mbpp` shows" in ran.err


def test_an_unknown_dataset_has_a_suggestion(egcfg: Callable[..., Any]) -> None:
    ran = egcfg("datasets", "quickstrat")

    assert (ran.status, ran.out) == (2, "")
    assert "did you mean 'quickstart'" in ran.err


# --- trace --------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path: Path) -> str:
    (tmp_path / "double.py").write_text("def double(x):\n    y = 2 * x\n    return y\n")
    return "double.py"


def test_trace_shows_a_call_as_text(egcfg: Callable[..., Any], program: str) -> None:
    ran = egcfg("trace", program, "--call", "double(21)", "--tracer", "full")

    assert (ran.status, ran.err) == (0, "")
    assert "double(21)" in ran.out
    assert "42" in ran.out


def test_a_bytecode_trace_shows_a_person_the_instructions(
    egcfg: Callable[..., Any], program: str
) -> None:
    ran = egcfg("trace", program, "--call", "double(21)", "--tracer", "bytecode")
    assert "RETURN_VALUE" in ran.out

    asked = ("trace", program, "--call", "double(21)", "--tracer", "bytecode")
    hidden = egcfg(*asked, "-o", "tracer.show_opcodes=false")
    assert "RETURN_VALUE" not in hidden.out


def test_a_person_sees_more_of_a_trace_than_fits_into_a_prompt(
    egcfg: Callable[..., Any], tmp_path: Path
) -> None:
    lines = "".join(f"    x = {n}\n" for n in range(1000, 1200))
    (tmp_path / "long.py").write_text(f"def f():\n{lines}    return x\n")
    ran = egcfg("trace", "long.py", "--call", "f()")
    assert all(f"x = {n}" in ran.out for n in range(1000, 1200))


def test_trace_as_json_has_the_canonical_form(egcfg: Callable[..., Any], program: str) -> None:
    ran = egcfg("trace", program, "--call", "double(21)", "--format", "json")

    trace = json.loads(ran.out)
    assert (trace["call"], trace["outcome"], trace["result"]["text"]) == ("double(21)", "ok", "42")
    assert {event["func"] for event in trace["events"]} >= {"double"}


def test_trace_of_a_program_that_fails_is_still_a_trace(
    egcfg: Callable[..., Any], program: str
) -> None:
    ran = egcfg("trace", program, "--call", "double(None)")

    assert ran.status == 0
    assert "TypeError" in ran.out


def test_trace_hands_standard_input_over(egcfg: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text("print(input()[::-1])\n")
    (tmp_path / "in.txt").write_text("abc\n")

    ran = egcfg("trace", "echo.py", "--stdin", "in.txt", "--format", "json")

    assert json.loads(ran.out)["stdout"] == "cba\n"


def test_what_a_traced_program_prints_cannot_drive_the_terminal(
    egcfg: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "evil.py").write_text("x = '\\x1b[2J'\nprint(x)\nraise ValueError(x)\n")

    for form in ("text", "json"):
        ran = egcfg("trace", "evil.py", "--format", form)
        assert ran.status == 0
        assert "\x1b" not in ran.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.py",), "none.py: cannot be read"),
        (("double.py", "--call", "double("), "--call: 'double(' is no expression"),
        (("double.py", "--call", "x = 1"), "--call: 'x = 1' is no expression"),
        (("double.py", "--tracer", "ful"), "no tracer named 'ful'; did you mean 'full'"),
        (("double.py", "-o", "tracer.layuot=paper"), "-o tracer.layuot: the tracer 'full' has no"),
    ],
)
@pytest.mark.usefixtures("program")
def test_trace_refuses_what_it_cannot_do(
    egcfg: Callable[..., Any], arguments: tuple[str, ...], message: str
) -> None:
    ran = egcfg("trace", *arguments)

    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err


# --- monitor ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("results")
def test_monitor_prints_accuracy_union_and_rsr(egcfg: Callable[..., Any]) -> None:
    ran = egcfg("monitor", "results")

    assert ran.status == 0
    _golden("monitor.txt", ran.out)


@pytest.mark.usefixtures("results")
def test_monitor_speaks_json_and_csv(egcfg: Callable[..., Any]) -> None:
    (report,) = json.loads(egcfg("monitor", "results", "--format", "json").out)
    lines = egcfg("monitor", "results/mbpp", "--format", "csv").out.splitlines()

    assert [row["accuracy"] for row in report["rows"]] == [50.0, 50.0, 100.0]
    assert len(lines) == 5


def test_names_of_files_cannot_drive_the_terminal(egcfg: Callable[..., Any], results: Path) -> None:
    (results / "mbpp").rename(results / "[bold]\x1b[31mred")

    for form in ("text", "json", "csv"):
        ran = egcfg("monitor", "results", "--format", form)
        assert ran.status == 0
        assert "\x1b" not in ran.out
        assert "[bold]" in ran.out


def test_monitor_as_json_keeps_names_that_must_not_be_shown(
    egcfg: Callable[..., Any], results: Path
) -> None:
    for name in ("mbpp\u00ad\x7f", "mbpp\udcff"):
        (folder,) = results.iterdir()
        folder.rename(results / name)
        (report,) = json.loads(egcfg("monitor", "results", "--format", "json").out)
        assert report["dataset"] == name


def test_monitor_of_nothing_says_what_to_give(egcfg: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    for folder, status in (("nowhere", 2), ("empty", 1)):
        ran = egcfg("monitor", folder)
        assert (ran.status, ran.out) == (status, "")
        assert folder in ran.err


# --- doctor -------------------------------------------------------------------------------------


def test_doctor_lists_what_is_here(egcfg: Callable[..., Any]) -> None:
    findings = json.loads(egcfg("doctor", "--format", "json").out)

    found = {(finding["subject"], finding["name"]) for finding in findings}
    assert {
        ("machine", "python"),
        ("packages", "attrs"),
        ("packages of egcfg[hf]", "torch"),
    } <= found
    assert ("plugins", "scripted (egcfg-scripted 1.0)") in found
    assert ("sandbox", "seccomp") in found
    assert ("sandbox", "verdicts") in found
    assert not any(subject.startswith("backend") for subject, _ in found)


def test_doctor_opens_a_backend_that_is_named(egcfg: Callable[..., Any]) -> None:
    ran = egcfg("doctor", "--backend", "scripted", "--model", "mine")

    section = ran.out.partition("backend scripted\n")[2]
    assert "model                    mine" in section
    assert "top_k                    all tokens" in section


def test_doctor_reports_a_backend_that_cannot_be_opened(egcfg: Callable[..., Any]) -> None:
    ran = egcfg("doctor", "--backend", "fireworks", "--model", "m")

    assert ran.status == 1
    assert "problem: " in ran.out
    assert "FIREWORKS_API_KEY" in ran.out
