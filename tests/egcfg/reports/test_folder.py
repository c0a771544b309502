"""Reading results folders: what is there, what is left out, and what is not read twice."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

import egcfg
from egcfg.errors import RunError
from egcfg.interfaces.backend import Usage
from egcfg.reports.folder import FolderReader, load_results
from egcfg.reports.rows import ResultRow, RowState
from egcfg.runs.results import Result, ResultStats, TestVerdict, dump_result
from egcfg.runs.store import ResultsFolder

CONFIG = "ns2t0.75d2_ln"
SOLVED = Result(
    code="x = 1\n",
    tests={"a": TestVerdict(passed=True), "b": TestVerdict(passed=True)},
    passed=True,
    tests_seen=("a", "other"),
    stats=ResultStats(
        start_time="2026-01-02T03:04:05+00:00",
        end_time="2026-01-02T03:05:05+00:00",
        input_tokens=70,
        output_tokens=9,
        usage={"prefix": Usage(requests=1), "guided": Usage(requests=2, cached_tokens=5)},
    ),
)


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    return ResultsFolder(tmp_path / "results", "mbpp", "org/m")


def settle(folder: Path) -> None:
    """Make folders look as if nothing had changed for a while."""
    then = time.time() - 100
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            os.utime(path, (then, then))


def test_a_row_tells_what_the_file_and_its_folders_do(results: ResultsFolder) -> None:
    results.write("method=best_of_n,n=3", "HumanEval/12", None, SOLVED)
    [row] = load_results(results.results_dir)
    assert row == ResultRow(
        path=str(results.result_path("method=best_of_n,n=3", "HumanEval/12", None)),
        dataset="mbpp",
        model="org_m",
        config="method=best_of_n,n=3",
        method="best_of_n",
        gamma=None,
        task_id="HumanEval/12",
        state=RowState.DONE,
        passed=True,
        tests=2,
        tests_passed=2,
        tests_seen=2,
        tests_seen_scored=1,
        input_tokens=70,
        output_tokens=9,
        cached_tokens=5,
        requests=3,
        forward_passes=0,
        forward_tokens=0,
        seconds=0.0,
        execution_seconds=0.0,
        signals=0,
        signals_empty=0,
        tokens_changed=0,
        near_ties=0,
        started=1767323045.0,
        ended=1767323105.0,
    )
    assert (row.judged, row.solves) == (True, True)


@pytest.mark.parametrize(
    ("result", "state", "solves"),
    [
        (SOLVED, RowState.DONE, True),
        (evolve(SOLVED, passed=False), RowState.DONE, False),
        (evolve(SOLVED, unfinished=True), RowState.UNFINISHED, True),
        (SOLVED.as_cached(), RowState.SKIPPED, True),
    ],
)
def test_the_state_says_whose_verdict_it_is(
    results: ResultsFolder, result: Result, state: RowState, solves: bool
) -> None:
    results.write(CONFIG, "1", 1.0, result)
    [row] = load_results(results.path)
    assert (row.state, row.solves) == (state, solves)
    assert row.judged is (state is not RowState.SKIPPED)


def test_what_an_older_tool_did_not_write_down_is_unknown(results: ResultsFolder) -> None:
    results.write(CONFIG, "1", 1.0, evolve(SOLVED, stats=None, tests_seen=None))
    counted = ResultStats(input_tokens=70, output_tokens=9, seconds=3.0)
    results.write(CONFIG, "2", 1.0, evolve(SOLVED, stats=counted))
    without, in_all = load_results(results.path)
    assert (without.output_tokens, without.seconds, without.tests_seen) == (None, None, None)
    assert (in_all.output_tokens, in_all.requests, in_all.forward_passes) == (9, None, None)


def test_rows_of_negative_gammas_are_rows(results: ResultsFolder) -> None:
    for gamma in (-0.1, 0.0):
        results.write(CONFIG, "1", gamma, SOLVED)
    found = load_results(results.results_dir)
    assert [row.gamma for row in found] == [-0.1, 0.0]
    assert found.left_out == []


def test_two_spellings_of_a_task_are_one_task(results: ResultsFolder) -> None:
    folder = results.path / CONFIG
    folder.mkdir(parents=True)
    for name, passed in (("HumanEval_12_gamma=1.0", True), ("HumanEval_7_gamma=1", False)):
        data = dump_result(evolve(SOLVED, passed=passed))
        (folder / f"task_id={name}.json").write_bytes(data)
    (folder / "task_id=HumanEval%2F12_gamma=1.0.json").write_bytes(b"")
    (folder / "task_id=my_12_gamma=1.0.json").write_bytes(dump_result(SOLVED))
    found = load_results(results.results_dir)
    assert {(row.task_id, row.state) for row in found} == {
        ("HumanEval/12", RowState.DONE),
        ("HumanEval/7", RowState.DONE),
        ("my_12", RowState.DONE),
    }
    assert [Path(each.path).name for each in found.left_out] == [
        "task_id=HumanEval%2F12_gamma=1.0.json"
    ]
    # A run finds them as well.
    record = results.read(CONFIG, "HumanEval/7", 1.0)
    assert record is not None
    assert record.result is not None
    assert not record.result.passed


def test_files_that_are_left_out_are_named(results: ResultsFolder) -> None:
    results.write(CONFIG, "1", 1.0, SOLVED)
    for name in ("task_id=2_gamma=1e3.json", "task_id=2_gamma=inf.json"):
        (results.path / CONFIG / name).write_bytes(dump_result(SOLVED))
    (results.path / CONFIG / "notes.txt").write_text("of no interest")
    found = load_results(results.results_dir)
    assert len(found) == 1
    assert sorted((Path(e.path).name, e.why) for e in found.left_out) == [
        ("task_id=2_gamma=1e3.json", "no number after _gamma="),
        ("task_id=2_gamma=inf.json", "no number after _gamma="),
    ]


def test_empty_and_broken_files_are_rows_without_a_verdict(results: ResultsFolder) -> None:
    results.write(CONFIG, "1", 1.0, SOLVED)
    (results.path / CONFIG / "task_id=2_gamma=1.0.json").write_bytes(b" ")
    (results.path / CONFIG / "task_id=3_gamma=1.0.json").write_bytes(b'{"passed": 1}')
    states = {row.task_id: (row.state, row.error) for row in load_results(results.path)}
    assert states == {
        "1": (RowState.DONE, None),
        "2": (RowState.EMPTY, None),
        "3": (RowState.BROKEN, "the field 'passed' holds int"),
    }


def test_claims_solved_tasks_and_unfinished_writes_are_no_rows(results: ResultsFolder) -> None:
    results.write(CONFIG, "1", 1.0, SOLVED)  # also as the task's solution
    claim = results.claim_path(CONFIG, "2", 1.0)
    claim.parent.mkdir()
    claim.with_name(f"{claim.name}.0").write_bytes(b"{}")
    (results.path / CONFIG / ".tmp-1").write_bytes(b"{")
    found = load_results(results.results_dir)
    assert [row.task_id for row in found] == ["1"]
    assert found.left_out == []


def test_nothing_to_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no folder"):
        load_results(tmp_path / "nowhere")
    with pytest.raises(RunError, match="holds no result files"):
        load_results(tmp_path)


# --- again and again ----------------------------------------------------------------------------


@pytest.fixture
def watched(results: ResultsFolder) -> tuple[FolderReader, ResultsFolder]:
    for config in (CONFIG, "ns3t0.7d2_ln"):
        for task in range(20):
            results.write(config, str(task), 1.0, evolve(SOLVED, passed=task % 2 == 0))
    settle(results.results_dir)
    return FolderReader(results.results_dir), results


def solved(reader: FolderReader) -> int:
    return sum(row.passed for row in reader.look())


def test_what_has_not_changed_is_not_read_again(
    watched: tuple[FolderReader, ResultsFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, results = watched
    assert (solved(reader), reader.files_read) == (20, 40)
    listed: list[Any] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    assert (solved(reader), reader.files_read) == (20, 40)
    assert listed == []
    results.write(CONFIG, "1", 1.0, SOLVED)
    results.write(CONFIG, "20", 1.0, SOLVED)
    assert (solved(reader), reader.files_read) == (22, 42)
    assert listed == [str(results.path / CONFIG)]


def test_a_young_folder_is_listed_again_since_its_time_may_stand_still(
    watched: tuple[FolderReader, ResultsFolder],
) -> None:
    reader, results = watched
    solved(reader)
    results.write(CONFIG, "1", 1.0, SOLVED)
    folder = results.path / CONFIG
    now = os.stat(folder)
    assert solved(reader) == 21
    results.write(CONFIG, "3", 1.0, SOLVED)
    os.utime(folder, ns=(now.st_atime_ns, now.st_mtime_ns))  # as a coarse clock has it
    assert (solved(reader), reader.files_read) == (22, 42)


def test_a_reservation_that_is_filled_in_place_is_seen(
    watched: tuple[FolderReader, ResultsFolder],
) -> None:
    reader, results = watched
    path = results.path / CONFIG / "task_id=77_gamma=1.0.json"
    path.write_bytes(b"")
    settle(results.results_dir)
    before = solved(reader)
    path.write_bytes(dump_result(SOLVED))
    settle(results.results_dir)
    assert solved(reader) == before + 1


def test_what_is_removed_is_gone(watched: tuple[FolderReader, ResultsFolder]) -> None:
    reader, results = watched
    solved(reader)
    for path in (results.path / CONFIG).glob("task_id=*"):
        path.unlink()
    (results.path / CONFIG).rmdir()
    assert len(reader.look()) == 20


def test_a_folder_that_grows_while_it_is_read_is_read_as_far_as_it_is_whole(
    watched: tuple[FolderReader, ResultsFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, results = watched
    stat, added = os.stat, iter(range(100, 200))

    def stat_and_grow(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if str(path).endswith("gamma=1.0.json") and (number := next(added, None)) is not None:
            results.write(CONFIG, str(number), 1.0, SOLVED)
        return stat(path, *args, **kwargs)

    monkeypatch.setattr("egcfg.reports.folder.os.stat", stat_and_grow)
    assert len(reader.look()) >= 40
    monkeypatch.undo()
    found = len(list(results.results_dir.rglob("task_id=*.json")))
    assert len(reader.look()) == found > 40


# --- as data ------------------------------------------------------------------------------------


def test_results_are_a_sequence_of_rows_and_a_data_frame(results: ResultsFolder) -> None:
    results.write(CONFIG, "1", 1.0, SOLVED)
    results.write(CONFIG, "2", 1.0, evolve(SOLVED, stats=None))
    found = egcfg.load_results(str(results.results_dir))
    assert isinstance(found[0], egcfg.ResultRow)
    assert [row.task_id for row in found[1:]] == ["2"]
    frame = found.to_pandas()
    assert list(frame["task_id"]) == ["1", "2"]
    assert frame["output_tokens"].sum() == 9
    assert frame["output_tokens"].isna().tolist() == [False, True]
    assert frame.groupby("config")["passed"].mean().to_dict() == {CONFIG: 1.0}


def test_a_result_s_own_text_stays_in_its_file(results: ResultsFolder) -> None:
    results.write(CONFIG, "1", 1.0, SOLVED)
    [row] = load_results(results.path)
    assert json.loads(Path(row.path).read_bytes())["code"] == "x = 1\n"
    assert "x = 1" not in repr(row)
