"""The race runs every arm, goes on where it was stopped, and compares."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from egcfg.runs.claims import ClaimState, claims_in
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg_backends_fireworks.testing import LoopbackServer, ServedModel, Shape

RACE = Path(__file__).parent.parent / "bench" / "race"


MODEL = ("--model", "m")


@contextmanager
def asking(latency_s: float) -> Iterator[tuple[str, ...]]:
    """Options of runs that ask a server here: each loads in half a second."""
    model = ServedModel(ScriptedBackend(ScriptedOptions(script=lambda _: "pass\n")), Shape())
    with LoopbackServer(model, latency_s=latency_s) as server:
        asks = ("--backend", "openai", "--base-url", f"{server.address}/v1")
        yield ("--", "--quiet", "--max-tokens", "8", "--prompt", "completion", *asks)


@pytest.fixture(scope="module")
def brief() -> Iterator[tuple[str, ...]]:
    with asking(latency_s=0.0) as options:
        yield options


def race(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RACE), "--out", str(out), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=out.parent)


@pytest.mark.server
def test_arms_run_one_after_another_and_are_compared(
    brief: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    few = (*MODEL, "--limit", "2", "--arms", "greedy", "best_of_n", "egcfg")
    runs = (*brief, "--record")

    left = race(out, *few, "--left")
    assert left.returncode == 0
    assert [line.split() for line in left.stderr.splitlines()] == [
        [arm, "0", "of", "2", "tasks"] for arm in ("greedy", "best_of_n", "egcfg")
    ]
    assert not out.exists()

    ran = race(out, *few, *runs)
    assert ran.returncode == 0, ran.stderr
    assert "Against best_of_n" in ran.stdout
    assert ran.stderr.splitlines()[-1].split() == ["egcfg", "done"]
    assert {path.name for path in (out / "saved").iterdir()} == {
        f"{arm}.jsonl.gz" for arm in ("greedy", "best_of_n", "egcfg")
    }
    assert (out / "race.svg").read_bytes().startswith(b"<?xml")
    assert "**Solved, in %," in (out / "race.md").read_text()
    results = [json.loads(p.read_text()) for p in (out / "best_of_n").rglob("task_id=*.json")]
    assert len(results) == 2
    for result in results:
        for attempt in result["attempts"]:
            assert attempt["calls"] > 0
            assert attempt["usage"]["output_tokens"] > 0

    files = {path: path.stat().st_mtime_ns for path in out.rglob("task_id=*.json")}
    assert race(out, *MODEL, "--limit", "2", "--arms", "egcfg", *runs).returncode == 0
    assert files == {path: path.stat().st_mtime_ns for path in out.rglob("task_id=*.json")}

    causes = [sys.executable, str(RACE / "causes.py"), str(out / "greedy"), str(out / "egcfg")]
    told = subprocess.run(causes, capture_output=True, text=True, check=True).stdout.splitlines()
    assert told[0].split() == ["tasks", "same", "sampled", "changed", "comment"]
    assert sum(int(line[12:].split()[0]) for line in told[1:5]) == 2


def test_a_comparison_that_is_refused_fails_and_leaves_the_earlier_one(
    brief: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    other = out / "greedy" / "mbpp-1" / "another model" / "method=greedy"
    other.mkdir(parents=True)
    (other / "task_id=1.json").write_text('{"passed": true, "results": {}}')
    (out / "race.md").write_text("as it was")
    ran = race(out, *MODEL, "--arms", "greedy", "--limit", "1", *brief)
    assert ran.returncode == 2
    assert "not of one model and one protocol" in ran.stderr
    assert (out / "race.md").read_text() == "as it was"


def test_an_arm_that_is_refused_is_told_of(tmp_path: Path) -> None:
    ran = race(tmp_path / "out", "--arms", "greedy", "--model", "/nowhere", "--limit", "1")
    assert ran.returncode == 1
    assert "greedy ended with status 2" in ran.stderr


@pytest.mark.server
def test_a_race_that_is_asked_to_end_has_its_run_give_its_tasks_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, str(RACE), "--out", str(out), *MODEL, "--arms", "greedy"]
    with (
        asking(latency_s=0.2) as options,
        subprocess.Popen(
            [*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as racing,
    ):
        while not [*out.rglob(".claims/*")]:
            assert racing.poll() is None
            time.sleep(0.02)
        runs = psutil.Process(racing.pid).children()
        racing.terminate()
        assert racing.wait() == 143
    assert runs
    assert not any(run.is_running() for run in runs)
    [claims] = out.rglob(".claims")
    states = claims_in(claims, time.time()).values()
    assert set(states) == {ClaimState.RELEASED}
