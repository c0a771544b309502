"""What a folder tells of runs that are at work on it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import orjson
import pytest
from attrs import evolve

from egcfg.reports.progress import Progress, progress_of
from egcfg.reports.rows import load_results
from egcfg.runs.claims import LEASE, Claims, ClaimState, claims_in
from egcfg.runs.results import Result, ResultStats
from egcfg.runs.store import ResultsFolder

CONFIG = "ns2t0.75d2_ln"
NOW = 1_767_323_105.0
DONE = Result(passed=True, stats=ResultStats(end_time="2026-01-02T03:04:05+00:00"))  # a minute ago


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    return ResultsFolder(tmp_path, "mbpp", "m")


def claim(results: ResultsFolder, task: str, **owner: object) -> Path:
    """Write a claim of some process."""
    stem = results.claim_path(CONFIG, task, 1.0)
    stem.parent.mkdir(parents=True, exist_ok=True)
    path = stem.with_name(f"{stem.name}.0")
    path.write_bytes(orjson.dumps(owner))
    os.utime(path, (NOW, NOW))
    return path


def look(results: ResultsFolder) -> Progress:
    return progress_of(results.path, load_results(results.path).rows, NOW)


def test_without_plans_and_claims_only_what_is_done_is_known(results: ResultsFolder) -> None:
    results.write(CONFIG, "1", 1.0, DONE)
    found = look(results)
    assert found == Progress(planned=None, done=1)
    assert (found.left, found.seconds_left) == (None, None)


def test_running_stale_and_left_are_told_apart(results: ResultsFolder) -> None:
    results.note_plan({"rows": [[CONFIG, 1.0], [CONFIG, 0.0]], "tasks": ["1", "2", "3", "4", "5"]})
    results.write(CONFIG, "1", 1.0, DONE)
    results.write(CONFIG, "2", 1.0, evolve(DONE, unfinished=True))  # is done anew
    elsewhere = {"machine": "another", "host": "h", "pid": 1, "born": 1}
    claim(results, "3", **elsewhere)
    silent = claim(results, "4", **elsewhere)
    os.utime(silent, (NOW - LEASE - 1, NOW - LEASE - 1))
    claim(results, "5")  # released
    claim(results, "1", **elsewhere)  # done a moment ago
    found = look(results)
    assert (found.planned, found.done, found.running, found.left) == (10, 1, 1, 8)
    assert found.stale == (f"{CONFIG}/task_id=4_gamma=1.0",)


def test_a_process_that_is_gone_is_stale_at_once(results: ResultsFolder) -> None:
    results.write(CONFIG, "1", 1.0, DONE)
    with Claims() as claims:
        mine = claims.acquire(results.claim_path(CONFIG, "7", 1.0))
        assert mine is not None
        assert claims_in(mine.path.parent, time.time()) == {
            "task_id=7_gamma=1.0": ClaimState.RUNNING
        }
        content = orjson.loads(mine.path.read_bytes())
        claim(results, "8", **(content | {"born": 1}))  # another process had that id
        states = claims_in(mine.path.parent, NOW)
    assert states["task_id=8_gamma=1.0"] is ClaimState.STALE


def test_nothing_is_written_by_who_watches(results: ResultsFolder) -> None:
    results.write(CONFIG, "1", 1.0, DONE)
    claim(results, "2")
    before = {path: path.stat().st_mtime_ns for path in results.path.rglob("*")}
    look(results)
    assert {path: path.stat().st_mtime_ns for path in results.path.rglob("*")} == before


def test_the_eta_goes_by_what_ended_of_late(results: ResultsFolder) -> None:
    results.note_plan({"rows": [[CONFIG, 1.0]], "tasks": [str(number) for number in range(20)]})
    for number in range(6):  # one every ten seconds in the last minute
        ended = f"2026-01-02T03:04:{5 + 10 * number - 60 * (number == 6):02}+00:00"
        result = evolve(DONE, stats=ResultStats(end_time=ended))
        results.write(CONFIG, str(number), 1.0, result)
    old = evolve(DONE, stats=ResultStats(end_time="2026-01-01T03:04:05+00:00"))
    results.write(CONFIG, "6", 1.0, old)
    assert look(results).per_minute is None  # nothing runs
    claim(results, "9", machine="another", host="h", pid=1, born=1)
    found = look(results)
    assert found.per_minute == pytest.approx(6)
    assert (found.left, found.running) == (12, 1)
    assert found.seconds_left == pytest.approx(130)


def test_equal_plans_are_one_and_others_are_added(results: ResultsFolder) -> None:
    results.write(CONFIG, "1", 1.0, DONE)
    for tasks in (["1", "2"], ["1", "2"], ["2", "3"]):
        results.note_plan({"rows": [[CONFIG, 1.0]], "tasks": tasks})
    assert look(results).planned == 3
    [*plans] = (results.path / ".plans").iterdir()
    assert len(plans) == 2
    plans[0].write_bytes(b"{")
    assert look(results).planned == 2
