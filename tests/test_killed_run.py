"""`egcfg run` with a real model, killed at random moments: it resumes to undisturbed results."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from egcfg.cli.program import invoke

GAMMAS = ("0", "1")
TASKS = 5
KILL_AFTER = (0, 5)  # results
# The rest are times, and costs: a process that lives longer finds more in its cache.
SAME = ("code", "response", "finish", "passed", "accuracy", "problem_sha256")


def run(model: Path, results: str) -> list[str]:
    command = ["run", "--record", "--dataset", "mine.jsonl", "--model", str(model)]
    command += ["-o", "backend.dtype=float64", "-p", "completion"]
    command += [word for gamma in GAMMAS for word in ("-g", gamma)]
    command += ["--max-tokens", "24", "-s", "2", "--concurrency", "2", "--results-dir", results]
    return [*command, "--max-tokens-total", "1000000"]


def started(folder: Path, model: Path, results: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "egcfg", *run(model, results)]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(child: subprocess.Popen[str]) -> None:
    _, said = child.communicate(timeout=300)
    assert child.returncode == 0, said


def read(folder: Path, pattern: str) -> dict[str, Any]:
    return {file.name: json.loads(file.read_bytes()) for file in folder.rglob(pattern)}


def results_of(folder: Path) -> dict[str, Any]:
    """Return of each result what must not differ from run to run."""
    found = read(folder, "task_id=*_gamma=*.json")
    return {name: [result[key] for key in SAME] for name, result in found.items()}


def test_a_killed_run_resumes_to_the_results_of_an_undisturbed_one(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        {"task_id": str(n), "description": f"Add {n} to x.", "tests": [f"assert f(1) == {n + 1}"]}
        for n in range(TASKS)
    ]
    (tmp_path / "mine.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    monkeypatch.chdir(tmp_path)
    assert invoke(run(tiny_llama, "undisturbed")) == 0  # here, where torch is loaded
    expected = results_of(tmp_path / "undisturbed")
    assert len(expected) == TASKS * len(GAMMAS)

    chance = random.Random(3)
    results = tmp_path / "results"
    lost = 0
    for count in KILL_AFTER:
        child = started(tmp_path, tiny_llama, "results")
        while len(results_of(results)) < count or not list(results.rglob(".claims/*")):
            if child.poll() is not None:  # on a busy machine, it may be quicker than we are
                break
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.2))
        child.kill()
        _, said = child.communicate()
        assert child.returncode in (0, -signal.SIGKILL), said
        kept = results_of(results)
        assert kept.items() <= expected.items()
        lost += len(expected) - len(kept)
    assert lost, "it was never killed in the middle of its work"
    # A kill in the middle of a write leaves what was written; the next run removes it in time.
    for left in results.rglob(".tmp-*"):
        os.utime(left, (0, 0))
    finished(started(tmp_path, tiny_llama, "results"))

    assert results_of(results) == expected
    assert not list(results.rglob(".tmp-*"))
    found = read(results, "task_id=*_gamma=*.json").values()
    records = {record.name for record in results.rglob("*.record.jsonl.gz")}
    assert {result["record"] for result in found} <= records
    # What the killed ones spent counts, beyond what came to a result.
    spent = sum(each["output_tokens"] for each in read(results, ".spent/*.json").values())
    assert spent >= sum(result["stats"]["output_tokens"] for result in found) > 0
