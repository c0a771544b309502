"""``egcfg monitor`` and ``egcfg export`` on folders of results."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CONFIGS = ("ns2t0.75d2_ln", "ns3t0.75d6_deepseek_instruct_long_ln,accept=true,confident=0.7")


def unit(folder: Path, config: str, task: str, gamma: str, passed: bool, **more: Any) -> Path:
    path = folder / "mbpp" / "org_model" / config / f"task_id={task}_gamma={gamma}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {"code": f"# {task}\n", "passed": passed, "results": {"t": {"result": passed}}}
    path.write_text(json.dumps(result | more))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two configurations at three gammas, one of them below 0; the last row is a part."""
    stats = {"input_tokens": 100, "output_tokens": 10, "seconds": 1.0, "usage": {"guided": {}}}
    results = tmp_path / "results"
    for number, config in enumerate(CONFIGS):
        for gamma in ("-0.1", "0.0", "1.0"):
            for task in range(4):
                if not (number and gamma == "1.0" and task):
                    passed = (task + number + float(gamma)) % 2 < 1
                    unit(results, config, str(task), gamma, passed, stats=stats)
    return results


def lines_of(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_rows_of_a_part_show_counts_and_negative_gammas_are_rows(
    egcfg: Callable[..., Any], folder: Path
) -> None:
    ran = egcfg("monitor", str(folder))
    assert ran.status == 0, ran.err
    rows = [line.split() for line in lines_of(ran.out) if line.startswith("ns")]
    assert [row[1] for row in rows] == ["-0.1", "0", "1"] * 2
    assert rows[0][2:4] == ["2/4", "50.0"]
    assert rows[5][2:6] == ["1/1", "of", "4", "-"]
    assert "rows that were tried on a part of the tasks have no accuracy" in ran.out


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("by", [None, "config", "model", "gamma", "method"])
def test_no_line_is_broken_inside_a_word(
    egcfg: Callable[..., Any],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    by: str | None,
) -> None:
    options = () if by is None else ("--by", by)
    monkeypatch.setenv("COLUMNS", "10000")
    words = set(egcfg("monitor", str(folder), *options).out.split())
    monkeypatch.setenv("COLUMNS", str(width))
    ran = egcfg("monitor", str(folder), *options)
    assert all(len(line) <= width for line in lines_of(ran.out))
    assert "\x1b" not in ran.out
    for word in ran.out.split():
        # What a narrow terminal adds: a line below the table, shorter rules, and names cut short.
        if word not in words and not word.startswith("─"):
            beginning = word.removesuffix("…")
            cut = word.endswith("…") and any(known.startswith(beginning) for known in words)
            below = {"too", "narrow", "for:", "passes", "passes,", "tok", "in", "in,", "seconds"}
            below |= {"seconds,", "out", "out,", "(--format", "csv", "has", "every", "column)"}
            assert cut or word in below, word


def test_rows_are_united_chosen_sorted_and_cut(egcfg: Callable[..., Any], folder: Path) -> None:
    by = egcfg("monitor", str(folder), "--by", "config", "--format", "csv").out
    first, second = csv.DictReader(io.StringIO(by))
    assert (first["name"], first["rows"], first["any_solved"]) == (CONFIGS[0], "3", "4")
    assert (first["best_accuracy"], second["any_accuracy"]) == ("50.0", "100.0")

    chosen = egcfg("monitor", str(folder), "--gammas", "-0.1,0", "--format", "json").out
    (report,) = json.loads(chosen)
    assert {row["gamma"] for row in report["rows"]} == {-0.1, 0.0}

    top = egcfg("monitor", str(folder), "--sort", "tokens", "--top", "2")
    assert len([line for line in lines_of(top.out) if line.startswith("ns")]) == 2
    assert "2 of 6 rows are shown" in top.out

    priced = ("--sort", "cost", "--prices", "input=1,output=1")
    (report,) = json.loads(egcfg("monitor", str(folder), *priced, "--format", "json").out)
    prices = [row["price"] for row in report["rows"]]
    assert prices == sorted(prices, reverse=True)

    none = egcfg("monitor", str(folder), "--model", "other")
    assert (none.status, none.out) == (2, "")
    assert "no row is left; leave out --model or --gammas" in none.err


def test_units_are_exported_one_per_line(
    egcfg: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    text = egcfg("monitor", str(folder), "--tasks", "--format", "csv").out
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == 21
    assert {"task_id", "passed", "output_tokens", "state"} <= lines[0].keys()
    units = json.loads(egcfg("monitor", str(folder), "--tasks", "--format", "json").out)
    assert [u["task_id"] for u in units] == [line["task_id"] for line in lines]

    file = tmp_path / "units.parquet"
    ran = egcfg("monitor", str(folder), "--tasks", "--format", "parquet", "-o", str(file))
    assert ran.status == 0, ran.err
    from pyarrow import parquet

    table = parquet.read_table(file).to_pylist()
    assert [u["task_id"] for u in table] == [u["task_id"] for u in units]
    assert [u["gamma"] for u in table] == [u["gamma"] for u in units]

    assert "passed" in egcfg("monitor", str(folder), "--tasks", "--gammas", "1").out


def test_what_cannot_be_shown_is_refused_with_the_next_step(
    egcfg: Callable[..., Any], folder: Path
) -> None:
    for options, said in (
        (("--format", "parquet"), "add --tasks and -o FILE"),
        (("--watch", "--format", "csv"), "--watch shows text"),
        (("--gammas", "one"), "give numbers, such as 0,0.5,-0.1"),
        (("--by", "prompt"), "'prompt' is not one of"),
        (("--sort", "cost"), "no row's cost is known; give --prices"),
    ):
        ran = egcfg("monitor", str(folder), *options)
        assert (ran.status, ran.out) == (2, "")
        assert said in ran.err


def test_unknown_costs_and_files_left_out_are_told(egcfg: Callable[..., Any], folder: Path) -> None:
    unit(folder, CONFIGS[0], "3", "0.0", True)  # an older tool's, without stats
    unit(folder, CONFIGS[0], "HumanEval_12", "1.0", True)
    unit(folder, CONFIGS[0], "HumanEval%2F12", "1.0", True)
    (folder / "mbpp" / "org_model" / CONFIGS[0] / "task_id=1_gamma=x.json").write_text("{}")
    ran = egcfg("monitor", str(folder))
    row = next(line.split() for line in lines_of(ran.out) if line.startswith(f"{CONFIGS[0]}  "))
    assert "do not say what it took" in ran.out
    assert any(cell.endswith("+") for line in lines_of(ran.out) for cell in line.split())
    assert row
    assert "left out: 1 file (no number after _gamma=):" in ran.out
    assert "task_id=1_gamma=x.json" in ran.out
    assert "left out: 1 file (the same unit as another file):" in ran.out
    (report,) = json.loads(egcfg("monitor", str(folder), "--format", "json").out)
    assert report["tasks"] == 5
    assert len(report["left_out"]) == 2
    for number in range(2, 6):
        (folder / "mbpp" / "org_model" / CONFIGS[0] / f"task_id={number}_gamma=x.json").touch()
    said = egcfg("monitor", str(folder)).out
    assert "left out: 5 files (no number after _gamma=):" in said
    assert "  and 2 more (--format json names all)" in said


def test_what_is_running_stale_and_left_is_told(egcfg: Callable[..., Any], folder: Path) -> None:
    model = folder / "mbpp" / "org_model"
    (model / ".plans").mkdir()
    plan = {"rows": [[CONFIGS[0], 1.0]], "tasks": [str(number) for number in range(10)]}
    (model / ".plans" / "1.json").write_text(json.dumps(plan))
    claims = model / CONFIGS[0] / ".claims"
    claims.mkdir()
    owner = {"machine": "another", "host": "h", "pid": 1, "born": 1}
    for task in ("7", "8"):
        (claims / f"task_id={task}_gamma=1.0.0").write_text(json.dumps(owner))
    os.utime(claims / "task_id=8_gamma=1.0.0", (0, 0))
    ran = egcfg("monitor", str(folder))
    assert "4 of 10 units done, 1 running, 1 stale, 5 left" in " ".join(ran.out.split())
    assert f"  {CONFIGS[0]}/task_id=8_gamma=1.0" in lines_of(ran.out)
    (report,) = json.loads(egcfg("monitor", str(folder), "--format", "json").out)
    assert report["progress"]["left"] == 5


def test_watch_looks_again_until_it_is_stopped(
    start: Callable[..., subprocess.Popen[str]], folder: Path
) -> None:
    child = start("monitor", str(folder), "--watch")
    assert child.stdout is not None
    seen: list[str] = []
    try:
        while "union of 6 rows 4/4" not in "".join(seen):
            seen.append(child.stdout.readline())
            assert seen[-1], "it ended"
        unit(folder, CONFIGS[0], "new", "1.0", True)
        while "union of 6 rows 5/5" not in "".join(seen):
            seen.append(child.stdout.readline())
            assert seen[-1], "it ended"
    finally:
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in err


def test_a_run_says_what_it_is_to_do(
    egcfg: Callable[..., Any], problems: Path, tmp_path: Path
) -> None:
    run = ("run", "--backend", "scripted", "--model", "m", "--dataset", str(problems), "-g", "0")
    assert egcfg(*run, "--limit", "1").status == 0
    assert egcfg(*run).status == 0
    (report,) = json.loads(egcfg("monitor", "results", "--format", "json").out)
    progress = report["progress"]
    assert (progress["planned"], progress["done"], progress["left"]) == (2, 2, 0)
    assert " left" not in egcfg("monitor", "results").out
    for path in (tmp_path / "results").rglob("task_id=double*.json"):
        path.unlink()
    assert "nothing works on them" in egcfg("monitor", "results").out


# --- export -------------------------------------------------------------------------------------


def test_the_programs_of_a_row_are_another_harness_s_samples(
    egcfg: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    row = ("--row", CONFIGS[0], "--gamma", "0")
    ran = egcfg("export", str(folder), "--as", "evalplus", *row, "-o", "samples.jsonl")
    assert (ran.status, ran.out) == (0, "")
    assert "4 programs" in ran.err
    lines = (tmp_path / "samples.jsonl").read_text().splitlines()
    assert json.loads(lines[2]) == {"task_id": "2", "solution": "# 2\n"}

    several = egcfg("export", str(folder), "--as", "bigcode")
    assert several.status == 2
    assert "these are 6:" in several.err


def test_exported_programs_cannot_drive_a_terminal(
    egcfg: Callable[..., Any], tmp_path: Path
) -> None:
    code = "# \x9b2J\u202e\n"
    unit(tmp_path / "results", CONFIGS[0], "1", "0.0", True, code=code)
    ran = egcfg("export", "results", "--as", "evalplus")
    assert ran.out.isascii()
    assert json.loads(ran.out)["solution"] == code


def test_exported_programs_can_be_scored(egcfg: Callable[..., Any], problems: Path) -> None:
    run = ("run", "--backend", "scripted", "--model", "m", "--dataset", str(problems), "-g", "0")
    assert egcfg(*run).status == 0
    egcfg("export", "results", "--as", "human-eval", "-o", "samples.jsonl")
    scored = egcfg("score", "samples.jsonl", "--dataset", str(problems), "--format", "json")
    assert scored.status == 0, scored.err
    (report,) = json.loads(egcfg("monitor", "results", "--format", "json").out)
    assert json.loads(scored.out)["statuses"]["passed"] == report["rows"][0]["solved"]
