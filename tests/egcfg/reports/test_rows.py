"""Results folders as rows: what is there, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve

import egcfg
from egcfg.errors import RunError
from egcfg.interfaces.usage import Usage
from egcfg.reports.rows import ResultRow, RowState, load_results
from egcfg.runs.result_file import dump_result
from egcfg.runs.results import Result, ResultStats, TestVerdict
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
        "3": (RowState.BROKEN, "Expected `bool | null`, got `int` - at `$.passed`"),
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
