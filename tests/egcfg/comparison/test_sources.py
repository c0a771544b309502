from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.comparison.arms import Arm, Axis
from egcfg.comparison.comparison import curve
from egcfg.comparison.saved import load_arm, save_arm
from egcfg.comparison.sources import outcome_of, read_arms
from egcfg.errors import RunError, UsageError
from egcfg.runs.results import Result, ResultStats
from egcfg.runs.store import ResultsFolder

USAGE = {
    "forward_passes": 9,
    "forward_tokens": 99,
    "requests": 0,
    "input_tokens": 300,
    "cached_tokens": 200,
    "output_tokens": 50,
    "seconds": 1.5,
}
ATTEMPT = {
    "sha256": "00",
    "stage": "sample",
    "passed": True,
    "visible": True,
    "tokens": 350,
    "calls": 2,
    "executions": 4,
    "usage": USAGE,
}
RESULT = {
    "code": "def f(): ...",
    "results": {
        "assert f(1)": {"result": True, "time": 0.1, "error": None, "status": "passed"},
        "assert f(2)": {"result": False, "time": 0.1, "error": "x", "status": "failed"},
    },
    "passed": False,
    "stats": {"usage": {"sample": USAGE}, "seconds": 3.5, "calls": 2, "executions": 4},
    "attempts": [ATTEMPT, {**ATTEMPT, "passed": False}],
    "problem_sha256": "ab",
    "tests_seen": ["assert f(1)"],
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(content: Any, name: str = "task_id=1.json", config: str = "method=best_of_n") -> Path:
        path = tmp_path / "results" / "mbpp-1" / "tiny" / config / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return tmp_path / "results"

    return write


def test_a_result_tells_every_answer_and_what_it_cost(write: Callable[..., Path]) -> None:
    [arm] = read_arms([str(write(RESULT))])
    assert (arm.label, arm.dataset, arm.model) == ("best_of_n", "mbpp-1", "tiny")
    outcome = arm.outcomes["1"]
    assert [answer.passed for answer in outcome.answers] == [True, False]
    assert [Axis.TOKENS.cost(answer.counts) for answer in outcome.answers] == [150, 150]
    assert outcome.counts == {
        "uncached": 100,
        "cached": 200,
        "output": 50,
        "calls": 2,
        "passes": 9,
        "requests": 0,
        "executions": 4,
    }
    assert outcome.false_accept is True
    assert (outcome.seen, outcome.scored, outcome.both) == (1, 2, 1)
    assert (outcome.seconds, outcome.problem_sha256) == (3.5, "ab")


def test_an_earlier_result_tells_all_tokens_and_the_visible_tests_of_its_answer(
    write: Callable[..., Path],
) -> None:
    early = [{"stage": "sample", "passed": False, "tokens": tokens} for tokens in (120, 350)]
    [arm] = read_arms([str(write({**RESULT, "attempts": early}))])
    [first, last] = arm.outcomes["1"].answers
    assert (first.visible, last.visible) == (None, True)
    assert first.counts == {"all-tokens": 120}
    assert last.counts == arm.outcomes["1"].counts  # it was the end of the work
    assert arm.outcomes["1"].cost(first, Axis.TOKENS) == 150
    assert arm.outcomes["1"].cost(first, Axis.ALL_TOKENS) == 120


def test_a_result_of_the_papers_tool_is_one_answer(write: Callable[..., Path]) -> None:
    old = {
        "code": "x",
        "results": {"assert f(1)": {"result": True, "time": 0.1, "error": None}},
        "passed": True,
        "stats": {"input_tokens": 70, "output_tokens": 30, "duration": "00:00:07"},
    }
    folder = write(old, "task_id=395_gamma=0.5.json", "ns2t0.75d2_ln")
    [arm] = read_arms([str(folder)])
    assert arm.label == "ns2t0.75d2_ln gamma 0.5"
    outcome = arm.outcomes["395"]
    assert outcome.solved_within(99, Axis.ALL_TOKENS) == 0.0
    assert outcome.solved_within(100, Axis.ALL_TOKENS) == 1.0
    assert outcome.solved_within(100, Axis.TOKENS) is None
    assert outcome.solved_within(30, Axis.OUTPUT) == 1.0
    assert (outcome.seen, outcome.scored) == (None, 1)


def test_a_problem_that_did_not_fit_is_not_solved(write: Callable[..., Path]) -> None:
    [arm] = read_arms([str(write({"general_error": "too long", "passed": False, "stats": {}}))])
    assert arm.outcomes["1"].solved_within(1000, Axis.TOKENS) == 0.0


def test_what_cannot_be_read_is_told_and_left_out(write: Callable[..., Path]) -> None:
    write(RESULT)
    write(b"{", "task_id=2.json")
    write(b"", "task_id=3.json")
    write({**RESULT, "attempts": ["garbage"]}, "task_id=4.json")
    write({**RESULT, "attempts": [{**ATTEMPT, "usage": 7}]}, "task_id=5.json")
    write({**RESULT, "attempts": [{**ATTEMPT, "calls": "many"}]}, "task_id=6.json")
    folder = write({**RESULT, "global_cached": True}, "task_id=7.json")
    [arm] = read_arms([str(folder)])
    assert list(arm.outcomes) == ["1"]
    assert len(arm.unreadable) == 5
    assert arm.skipped == 1


def test_what_its_runs_were_to_do_is_an_arms_own_and_is_kept(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    write(RESULT, "task_id=1_gamma=1.0.json", "ns3")
    folder = write(RESULT, config="method=greedy")
    plans = ResultsFolder(folder, "mbpp-1", "tiny")
    plans.note_plan({"rows": [["method=greedy", None]], "tasks": ["1", "10", "2"]})
    plans.note_plan({"rows": [["ns3", 0.0], ["ns3", 1.0]], "tasks": ["3"]})
    greedy, guided = read_arms([str(folder)])
    assert (greedy.planned, guided.planned) == (("1", "2", "10"), ("3",))
    assert load_arm(save_arm(greedy, tmp_path)) == greedy


NAMES = st.sampled_from(["passed", "usage", "calls", "tokens", "visible"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
    max_leaves=8,
)


@given(attempts=st.lists(ANYTHING, max_size=3))
def test_whatever_an_attempt_holds_is_read_or_told(
    attempts: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any") / "d" / "m" / "c"
    folder.mkdir(parents=True)
    (folder / "task_id=1.json").write_text(json.dumps({**RESULT, "attempts": attempts}))
    [arm] = read_arms([str(folder)])
    assert len(arm.outcomes) + len(arm.unreadable) == 1


def test_gammas_are_arms_of_their_own_in_order(write: Callable[..., Path]) -> None:
    for gamma in ("3.0", "-0.5", "10.0"):
        folder = write(RESULT, f"task_id=1_gamma={gamma}.json", "ns3t0.7d2_chat_ln")
    labels = [arm.label for arm in read_arms([str(folder)])]
    assert labels == [f"ns3t0.7d2_chat_ln gamma {gamma}" for gamma in ("-0.5", "3", "10")]


class TestLabels:
    def test_a_name_may_be_given(self, write: Callable[..., Path]) -> None:
        folder = write(RESULT)
        assert [arm.label for arm in read_arms([f"bar={folder}"])] == ["bar"]
        write(RESULT, config="method=greedy")
        labels = [arm.label for arm in read_arms([f"bar={folder}"])]
        assert labels == ["bar: best_of_n", "bar: greedy"]

    def test_the_folder_of_a_method_is_no_name(self, write: Callable[..., Path]) -> None:
        folder = write(RESULT) / "mbpp-1" / "tiny" / "method=best_of_n"
        assert [arm.label for arm in read_arms([str(folder)])] == ["best_of_n"]

    def test_equal_labels_are_told_apart_by_what_differs(self, tmp_path: Path) -> None:
        for seed in (0, 1):
            folder = tmp_path / str(seed) / "mbpp" / "tiny" / "method=greedy"
            folder.mkdir(parents=True)
            (folder / "task_id=1.json").write_text(json.dumps(RESULT))
            provenance = {"decoding": {"seed": seed, "max_tokens": 512}}
            (folder / ".provenance.json").write_text(json.dumps(provenance))
        labels = [arm.label for arm in read_arms([str(tmp_path / "0"), str(tmp_path / "1")])]
        assert labels == ["greedy (seed=0)", "greedy (seed=1)"]

    def test_parts_of_a_run_are_one_arm_where_they_are_of_different_tasks(
        self, write: Callable[..., Path], tmp_path: Path
    ) -> None:
        whole = write(RESULT)
        write(b"{", "task_id=3.json")
        ResultsFolder(whole, "mbpp-1", "tiny").note_plan(
            {"rows": [["method=best_of_n", None]], "tasks": ["1", "2", "3"]}
        )
        whole.rename(tmp_path / "first")
        folders = [str(tmp_path / "first"), str(write(RESULT, "task_id=2.json"))]
        [arm] = read_arms(folders)
        assert (arm.label, [*arm.outcomes]) == ("best_of_n", ["1", "2"])
        assert arm.planned == ("1", "2", "3")
        assert len(arm.unreadable) == 1
        [named] = read_arms([f"mine={folder}" for folder in folders])
        assert (named.label, [*named.outcomes]) == ("mine", ["1", "2"])

    def test_results_of_different_data_sets_are_not_one_arm(
        self, write: Callable[..., Path], tmp_path: Path
    ) -> None:
        (write(RESULT) / "mbpp-1").rename(tmp_path / "other")
        with pytest.raises(UsageError, match="called 'best_of_n', of different data sets"):
            read_arms([str(tmp_path / "other"), str(write(RESULT, "task_id=2.json"))])

    def test_one_folder_twice_is_refused(self, write: Callable[..., Path]) -> None:
        folder = str(write(RESULT))
        with pytest.raises(UsageError, match=r"have tasks in common.*NAME=DIR"):
            read_arms([folder, folder])


class TestOtherTools:
    def test_verdicts_of_samples_are_an_arm(self, tmp_path: Path) -> None:
        lines = [
            {"task_id": "2", "passed": False, "tests": [{}, {}], "status": "failed"},
            {"task_id": "1", "passed": True, "tests": [{}], "status": "passed"},
            {"task_id": "1", "passed": False, "tests": [{}], "status": "sandbox_error"},
        ]
        path = tmp_path / "other.tool.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        [arm] = read_arms([str(path)])
        assert arm.label == "other"
        assert {task: each.rate for task, each in arm.outcomes.items()} == {"1": 0.5, "2": 0.0}
        assert [each.scored for each in arm.outcomes.values()] == [1, 2]
        assert arm.outcomes["1"].sandbox_error
        kept = tmp_path / "other.jsonl.gz"
        kept.write_bytes(gzip.compress(path.read_bytes()))
        assert read_arms([str(kept)]) == [arm]
        kept.write_bytes(kept.read_bytes()[:-6])
        with pytest.raises(RunError, match="cannot read"):
            read_arms([str(kept)])

    @pytest.mark.parametrize(
        "content", [b"", b"hello\n", b"[1]\n", b'{"task_id": "1"}\n', b"\xff\x00"]
    )
    def test_other_files_are_refused(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "samples.jsonl"
        path.write_bytes(content)
        with pytest.raises(RunError, match="egcfg score --out"):
            read_arms([str(path)])


class TestFolders:
    def test_a_folder_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="there is no folder"):
            read_arms([str(tmp_path / "nowhere")])

    def test_a_folder_of_other_things_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("x")
        (tmp_path / "data.jsonl.gz").write_bytes(gzip.compress(b'{"task_id": 1}\n'))
        with pytest.raises(RunError, match="holds no result files"):
            read_arms([str(tmp_path)])

    def test_a_saved_arm_of_endless_lines_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("egcfg.runs.files.LARGEST_LINES", 1 << 20)
        path = tmp_path / "arm.jsonl.gz"
        path.write_bytes(gzip.compress(b" " * (2 << 20)))
        assert path.stat().st_size < 9000
        for read in (load_arm, lambda path: read_arms([str(path)])):
            with pytest.raises(RunError, match="it has more than "):
                read(path)

    def test_garbage_that_is_called_as_saved_arms_are(self, tmp_path: Path) -> None:
        (tmp_path / "data.jsonl.gz").write_bytes(b"no gzip")
        with pytest.raises(RunError, match=r"cannot read .*data.jsonl.gz"):
            read_arms([str(tmp_path)])


class TestSavedArms:
    def test_read_as_they_were(self, race: list[Arm], tmp_path: Path) -> None:
        for arm in race:
            assert load_arm(save_arm(arm, tmp_path)) == arm
        found = read_arms([str(tmp_path)])
        assert {arm.label: arm for arm in found} == {arm.label: arm for arm in race}

    def test_of_results_hold_no_program_and_no_test(
        self, write: Callable[..., Path], tmp_path: Path
    ) -> None:
        [arm] = read_arms([str(write(RESULT))])
        path = save_arm(arm, tmp_path / "saved")
        content = gzip.decompress(path.read_bytes())
        assert b"def f" not in content
        assert b"assert" not in content
        assert load_arm(path) == arm

    def test_are_the_same_bytes_each_time(self, race: list[Arm], tmp_path: Path) -> None:
        one, other = (save_arm(race[0], tmp_path / name) for name in "ab")
        assert one.read_bytes() == other.read_bytes()

    def test_a_label_is_no_path(self, tmp_path: Path, make_arm: Callable[..., Arm]) -> None:
        arm = make_arm("../../x y/z", {"1": [(1, True)]})
        path = save_arm(arm, tmp_path)
        assert path.parent == tmp_path
        assert load_arm(path).label == "../../x y/z"

    @pytest.mark.parametrize(
        "change",
        [
            lambda lines: [lines[0].replace(b'"egcfg_arm":1', b'"egcfg_arm":2'), *lines[1:]],
            lambda lines: [lines[0], b'{"task_id": 1, "unknown": 2}'],
            lambda lines: [lines[0], b'{"task_id": "1", "answers": [{"passed": 7}]}'],
            lambda lines: [lines[0], b"{"],
            lambda lines: [lines[0], b"[]"],
        ],
        ids=["version", "field", "type", "cut", "list"],
    )
    def test_what_is_not_whole_is_refused(
        self, race: list[Arm], tmp_path: Path, change: Callable[[list[bytes]], list[bytes]]
    ) -> None:
        path = save_arm(race[0], tmp_path)
        lines = gzip.decompress(path.read_bytes()).splitlines()
        path.write_bytes(gzip.compress(b"\n".join(change(lines))))
        with pytest.raises(RunError, match="remove it, and save the arm again"):
            load_arm(path)
        assert_kept(race[0], path)

    def test_a_cut_file_is_refused(self, race: list[Arm], tmp_path: Path) -> None:
        path = save_arm(race[0], tmp_path)
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(RunError, match="cannot read"):
            load_arm(path)
        assert_kept(race[0], path)


def assert_kept(arm: Arm, path: Path) -> None:
    """Assert that an arm is not saved over a file that may hold what nobody has any more."""
    content = path.read_bytes()
    with pytest.raises(UsageError, match=f"{re.escape(str(path))}.*save into another folder"):
        save_arm(arm, path.parent)
    assert path.read_bytes() == content


def test_the_course_of_a_result_is_that_of_its_attempts() -> None:
    def attempts(*told: tuple[int, bool]) -> tuple[dict[str, Any], ...]:
        return tuple({"tokens": tokens, "passed": passed} for tokens, passed in told)

    spent = ResultStats(input_tokens=1000, output_tokens=100)
    results = [
        Result(passed=True, attempts=attempts((50, False), (100, True))),
        Result(passed=False, attempts=attempts((60, True), (100, False))),  # made worse
        Result(passed=True, attempts=attempts((100, True))),
        Result(passed=True, stats=spent),
    ]
    outcomes = {str(n): outcome_of(str(n), result) for n, result in enumerate(results)}
    points = curve(Arm(label="", outcomes=outcomes), Axis.ALL_TOKENS)
    assert points == [(50, 0.0), (60, 1.0), (100, 2.0), (1100, 3.0)]
    unknown = {**outcomes, "4": outcome_of("4", Result(passed=True))}
    assert curve(Arm(label="", outcomes=unknown), Axis.ALL_TOKENS) == []
