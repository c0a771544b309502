"""The main job: results on disk, a table at the end, and every way to stop in between."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BASE = ("--backend", "scripted", "--dataset", "mine.jsonl", "-p", "chat", "--model", "scripted")


@pytest.mark.usefixtures("problems")
@pytest.mark.parametrize("command", [("run",), ()])
def test_the_main_job_writes_results_and_prints_the_table(
    egcfg: Callable[..., Any], tmp_path: Path, command: tuple[str, ...]
) -> None:
    ran = egcfg(*command, *BASE, "-g", "0", "-g", "1", "--seed", "3")

    assert ran.status == 0, ran.err
    files = sorted((tmp_path / "results" / "mine" / "scripted").rglob("task_id=*.json"))
    assert [file.name for file in files] == [
        "task_id=double_gamma=0.0.json",
        "task_id=double_gamma=1.0.json",
        "task_id=square_gamma=0.0.json",
        "task_id=square_gamma=1.0.json",
    ]
    passed = {file.name: json.loads(file.read_text())["passed"] for file in files}
    assert list(passed.values()) == [False, False, True, True]
    assert "1/2" in ran.out
    assert "50.0" in ran.out
    told = re.findall(r"^\[(\d)/4\] task (\w+), ", ran.err, re.MULTILINE)
    assert [number for number, _ in told] == ["1", "2", "3", "4"]
    assert sorted(task for _, task in told) == ["double", "double", "square", "square"]


@pytest.mark.usefixtures("problems")
def test_running_again_decodes_nothing_again(egcfg: Callable[..., Any], tmp_path: Path) -> None:
    first = egcfg(*BASE)
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "results").rglob("task_id=*.json")}

    again = egcfg(*BASE, "-o", "backend.noisy=true", "-q")
    same = egcfg(*BASE, "-o", "backend.noisy=no")

    assert first.status == same.status == 0
    assert again.status == 1  # an option that the folder's results were not made with
    assert "other settings" in again.err
    assert same.err == "4 of 4 units are done already\n"
    assert same.out == first.out
    assert {f: f.stat().st_mtime_ns for f in before} == before


@pytest.mark.usefixtures("problems")
def test_a_selection_is_the_tasks_that_were_named(egcfg: Callable[..., Any]) -> None:
    ran = egcfg(*BASE, "--task", "square", "-g", "0")

    assert (ran.status, ran.err.count("] task ")) == (0, 1)


@pytest.mark.usefixtures("problems")
def test_config_strings_name_the_grid(egcfg: Callable[..., Any], tmp_path: Path) -> None:
    ran = egcfg(
        *BASE[:4], "--signal", "ns1t0.5d1_chat_ln", "--signal", "pns2t0.5dinf_chat_tok", "-g", "1"
    )

    assert ran.status == 0, ran.err
    folders = {f.parent.name for f in (tmp_path / "results").rglob("task_id=*.json")}
    assert {"ns1t0.5d1_chat_ln", "pns2t0.5dinf_chat_tok"} <= folders


@pytest.mark.usefixtures("problems")
def test_stopping_when_solved_skips_the_rest_of_a_task(egcfg: Callable[..., Any]) -> None:
    ran = egcfg(*BASE, "--stop-when-solved")

    assert "square, ns3t0.7d2_chat_ln, gamma 1: skipped, its task is solved" in ran.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "nowhere"), "no dataset named 'nowhere'"),
        (("--dataset", "nowhere.jsonl"), "nowhere.jsonl"),
        (("--task", "cube"), "no task named 'cube'"),
        (("--backend", "fireworks", "--model", "m"), "FIREWORKS_API_KEY"),
        (("--concurrency", "0"), "--concurrency: must be at least 1, not 0"),
        (("--gamma", "x"), "--gamma: 'x' is not a number"),
        (("--guidance", "nope"), "no guidance named 'nope'"),
        (("--prompt", "chta"), "no prompt named 'chta'; did you mean 'chat'"),
        (("--config", "none.toml"), "none.toml: cannot be read"),
        (("--session", "none.json"), "none.json"),
    ],
)
@pytest.mark.usefixtures("problems")
def test_wrong_usage_is_one_line_and_status_2(
    egcfg: Callable[..., Any], arguments: tuple[str, ...], message: str
) -> None:
    ran = egcfg(*BASE, *arguments)

    assert (ran.status, ran.out) == (2, ""), ran.err
    assert message in ran.err.splitlines()[-1]


@pytest.mark.usefixtures("problems")
def test_a_model_that_cannot_answer_leaves_its_units_undone(egcfg: Callable[..., Any]) -> None:
    ran = egcfg(*BASE, "-o", "backend.fails=true", "-g", "0")

    assert ran.status == 1
    assert "left undone: task square" in ran.err
    assert "the model is out to lunch" in ran.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--backend", "openai", "--base-url", "http://127.0.0.1:9/v1"),
            "Connection error",
        ),
        (("--backend", "hf", "--model", "./Qwen.gguf"), "no model at ./Qwen.gguf"),
    ],
)
@pytest.mark.usefixtures("problems")
def test_a_model_that_cannot_be_opened_is_told_once_and_leaves_nothing(
    egcfg: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    quick = ("-o", "backend.backoff_s=0") if "openai" in arguments else ()
    before = sorted(tmp_path.iterdir())

    ran = egcfg(*BASE, *arguments, *quick)

    assert ran.status in (1, 2)
    assert ran.out == ""
    assert [message in line for line in ran.err.splitlines()] == [True], ran.err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("problems")
def test_a_run_without_a_result_prints_no_table(egcfg: Callable[..., Any]) -> None:
    assert egcfg(*BASE, "-o", "backend.fails=true", "-g", "0").out == ""


@pytest.mark.usefixtures("problems")
def test_results_and_tables_say_that_units_shared_their_time(
    egcfg: Callable[..., Any], tmp_path: Path
) -> None:
    def stats(folder: str) -> list[dict[str, Any]]:
        files = sorted((tmp_path / folder).rglob("task_id=*.json"))
        return [json.loads(file.read_text()) for file in files]

    alone = egcfg(*BASE, "--concurrency", "1", "--results-dir", "alone")
    together = egcfg(*BASE, "--results-dir", "together")  # all four of them

    assert {each["stats"]["concurrency"] for each in stats("alone")} == {1}
    assert {each["stats"]["concurrency"] for each in stats("together")} == {4}
    codes = [[each["code"] for each in stats(folder)] for folder in ("alone", "together")]
    assert codes[0] == codes[1]
    assert "seconds" in alone.out
    assert "up to" not in alone.out + alone.err
    assert "seconds" not in together.out
    assert "up to 4 units shared their time" in together.out
    assert re.search(r"4 units in [\d.]+ s: [\d.e+]+ a minute, up to 4 at once", together.err)
    monitored = egcfg("monitor", "together")
    assert "seconds" not in monitored.out
    (report,) = json.loads(egcfg("monitor", "together", "--format", "json").out)
    assert report["union"]["concurrency"] == 4
    assert 0 < report["union"]["wall_seconds"] <= report["union"]["seconds"]


@pytest.mark.usefixtures("problems")
def test_problems_are_not_read_by_the_model_before_the_data_is_checked(
    egcfg: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "mine.jsonl").write_text('{"task_id": 1}\n')

    ran = egcfg(*BASE, "--backend", "hf", "--model", "/nowhere/at/all")

    assert ran.status == 2
    assert "mine.jsonl" in ran.err
    assert "/nowhere" not in ran.err


@pytest.mark.usefixtures("problems")
def test_a_real_model_runs_the_main_job(
    egcfg: Callable[..., Any], tmp_path: Path, tiny_llama: Path
) -> None:
    arguments = ["--backend", "hf", "--model", str(tiny_llama), "--dataset", "mine.jsonl"]
    arguments += ["-p", "long_code", "-g", "0", "-g", "1", "--limit", "1", "--max-tokens", "12"]

    ran = egcfg(*arguments, "--tracer", "minimal", "--results-dir", "out")

    assert ran.status == 0, ran.err
    files = sorted((tmp_path / "out" / "mine" / tiny_llama.name).rglob("task_id=*.json"))
    first, second = (json.loads(file.read_text()) for file in files)
    assert first["stats"]["output_tokens"] > 0
    assert first["resolved"]["device"] == "cpu"
    # No code was reached, so that nothing was guided: the model has it all from the first unit.
    assert len(first["response"]) > 12
    assert second["response"] == first["response"]


@pytest.mark.usefixtures("problems")
def test_looking_at_a_finished_run_of_a_local_model_loads_no_torch(
    egcfg: Callable[..., Any], tmp_path: Path, tiny_llama: Path
) -> None:
    arguments = ["run", "--model", str(tiny_llama), "--dataset", "mine.jsonl", "-g", "0"]
    arguments += ["-p", "long_code", "--limit", "1", "--max-tokens", "4", "-o", "backend.threads=1"]
    assert egcfg(*arguments).status == 0
    code = (
        "import sys; from egcfg.cli.program import invoke; status = invoke(sys.argv[1:]); "
        'sys.exit(f\'{status} {sorted({"torch", "transformers"} & sys.modules.keys())}\')'
    )
    again = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True
    )

    assert again.stderr == "1 of 1 units are done already\n0 []\n"


def _wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.usefixtures("problems")
def test_an_interrupted_run_says_how_to_resume_and_does(
    start: Callable[..., subprocess.Popen[str]],
    process: Callable[..., Any],
    tmp_path: Path,
    number: signal.Signals,
    status: int,
) -> None:
    results = tmp_path / "results"
    slow = ("-g", "0", "-o", "backend.seconds_per_question=0.05", "--concurrency", "1")
    child = start("run", *BASE, *slow)
    _wait_for(lambda: any(results.rglob("task_id=square*.json")))

    # To the whole group, as a terminal and a batch system send it.
    os.killpg(child.pid, number)
    _, err = child.communicate()

    assert child.returncode == status, err
    assert not any(results.rglob("task_id=double*.json"))
    if number is signal.SIGTERM:
        return
    assert err.splitlines()[-1] == (
        "egcfg: interrupted; finished units are kept in results: "
        "run the same command again to go on"
    )
    resumed = process("run", *BASE, *slow)
    assert resumed.status == 0
    assert "1 of 2 units are done already" in resumed.err
    assert any(results.rglob("task_id=double*.json"))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.usefixtures("problems")
def test_an_interrupted_run_gives_back_all_that_it_had_in_flight(
    start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    number: signal.Signals,
    status: int,
) -> None:
    results = tmp_path / "results"

    def claims() -> list[bytes]:
        return [file.read_bytes() for file in results.rglob(".claims/task_id=*")]

    child = start("run", *BASE, "-o", "backend.seconds_per_question=600")
    _wait_for(lambda: len(claims()) == 4)
    os.killpg(child.pid, number)
    _, err = child.communicate()

    assert child.returncode == status, err
    assert claims() == [b"{}"] * 4
    assert "Traceback" not in err
    assert "ExceptionGroup" not in err
    assert not list(results.rglob("task_id=*.json"))


@pytest.mark.usefixtures("problems")
def test_where_ctrl_c_is_ignored_on_entry_it_stays_ignored(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    slow = ("-g", "0", "-o", "backend.seconds_per_question=0.05", "--concurrency", "1")
    child = start("run", *BASE, *slow, sigint="SIG_IGN")
    _wait_for(lambda: any((tmp_path / "results").rglob("task_id=square*.json")))

    os.killpg(child.pid, signal.SIGINT)
    _, err = child.communicate()

    assert child.returncode == 0, err
    assert "[2/2] task double" in err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.usefixtures("problems")
def test_a_second_signal_ends_the_process_at_once(
    start: Callable[..., subprocess.Popen[str]], number: signal.Signals, status: int
) -> None:
    # The model holds the event loop for longer than the test waits, and says when it begins.
    slow = ("-o", "backend.stubborn=true", "-o", "backend.seconds_per_question=600")
    child = start("run", *BASE, "-g", "0", *slow, "-o", "backend.noisy=true")
    assert child.stdout is not None
    child.stdout.readline()

    def ended() -> bool:
        child.send_signal(number)
        time.sleep(0.2)
        return child.poll() is not None

    _wait_for(ended)
    child.communicate()
    assert child.returncode == status


@pytest.mark.usefixtures("problems")
def test_a_wrong_option_can_be_corrected(egcfg: Callable[..., Any], tmp_path: Path) -> None:
    wrong = egcfg(*BASE, "-o", "backend.seconds_per_question=soon")

    assert wrong.status == 2, wrong.err
    assert not (tmp_path / "results").exists()
    assert egcfg(*BASE, "-o", "backend.seconds_per_question=0").status == 0


@pytest.mark.usefixtures("problems")
def test_a_model_that_never_answered_pins_nothing(egcfg: Callable[..., Any]) -> None:
    failed = egcfg(*BASE, "-o", "backend.fails=true")

    assert failed.status == 1
    assert egcfg(*BASE).status == 0


@pytest.mark.usefixtures("problems")
def test_another_checkpoint_of_the_same_name_gets_no_results_of_the_first(
    egcfg: Callable[..., Any], tmp_path: Path
) -> None:
    for run_name in ("a", "b"):
        folder = tmp_path / run_name / "ck-100"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_text(run_name)

    first = egcfg(*BASE, "--model", "a/ck-100", "-g", "0")
    second = egcfg(*BASE, "--model", "b/ck-100", "-g", "0")
    (tmp_path / "a").rename(tmp_path / "moved")
    moved = egcfg(*BASE, "--model", "moved/ck-100", "-g", "0")

    assert (first.status, second.status, moved.status) == (0, 1, 0), second.err
    assert "backend.model" in second.err
    assert moved.err == "2 of 2 units are done already\n"


KEY = "sk-9876543"


@pytest.mark.parametrize("faulty", [False, True])
@pytest.mark.usefixtures("problems")
def test_a_key_is_in_nothing_that_a_run_writes(
    egcfg: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    endpoint: Any,
    faulty: bool,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    base = ["--backend", "openai", "--model", "m", "--dataset", "mine.jsonl", "-p", "long_code"]
    # A model's context that no problem fits: the error's way to the disk.
    limits = ["--max-tokens", "3", *(["-o", "backend.context_length=1"] if faulty else [])]
    ran = egcfg(*base, *limits, "--base-url", f"{endpoint.address}/v1", "-g", "0", "--debug")

    assert ran.status == 0, ran.err
    assert set(endpoint.keys) == {f"Bearer {KEY}"}
    assert KEY not in ran.out + ran.err
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(file.name == ".provenance.json" for file in files)
    assert any(file.name.startswith("task_id=") for file in files)
    for file in files:
        assert KEY.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("flag", ["--base-url", "-o"])
@pytest.mark.parametrize("command", ["run", "config"])
@pytest.mark.usefixtures("problems")
def test_an_address_with_a_password_is_refused_unseen(
    egcfg: Callable[..., Any], tmp_path: Path, command: str, flag: str
) -> None:
    address = f"http://u:{KEY}@127.0.0.1:9/v1"
    value = address if flag == "--base-url" else f"backend.base_url={address}"
    ran = egcfg(
        command, "--backend", "openai", "--model", "m", "--dataset", "mine.jsonl", flag, value
    )

    assert (ran.status, ran.out) == (2, ""), ran.err
    assert "environment variable" in ran.err
    assert KEY not in ran.err
    assert not (tmp_path / "results").exists()
