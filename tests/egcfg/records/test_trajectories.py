"""Trajectories: the same keys in each, in the shape that trainers read."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from egcfg.errors import RunError
from egcfg.interfaces.method import Attempt, Reply
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt, TextPrompt
from egcfg.interfaces.scorer import Score, TestResult, TestStatus
from egcfg.records.entries import UnitEntry
from egcfg.records.reading import load_record
from egcfg.records.recorder import Recorder
from egcfg.records.trajectories import trajectories, trajectory
from egcfg.runs.results import Result
from egcfg.runs.store import ResultsFolder

PASSED = TestResult(name="hidden", status=TestStatus.PASSED, seconds=0.0)
FAILED = TestResult(name="hidden", status=TestStatus.FAILED, seconds=0.0, error="no")


def test_prompt_and_completion_are_the_exchange(recorded: Any) -> None:
    told = trajectory(recorded.record, 7, dataset="mine", model="m")
    assert [message["role"] for message in told["prompt"]] == ["user"]
    assert "Add up the numbers." in told["prompt"][0]["content"]
    [answer] = told["completion"]
    assert answer == {"role": "assistant", "content": recorded.solution.generation.response}
    assert (told["label"], told["reward"], told["idx"]) == (True, 1.0, 7)
    assert (told["id"], told["dataset"], told["model"]) == ("t/total", "mine", "m")
    assert told["gamma"] == 1.0
    assert told["code"] == recorded.solution.code


def test_lines_have_candidates_and_log_probabilities_of_both_branches(recorded: Any) -> None:
    told = trajectory(recorded.record)
    assert "".join(line["text"] for line in told["lines"]) == "".join(
        step.text for step in recorded.steps
    )
    guided = [line for line in told["lines"] if line["candidates"]]
    assert guided
    for line in guided:
        for candidate in line["candidates"]:
            assert told["programs"][candidate["program"]]["source"]
    tokens = [token for line in guided for token in line["tokens"]]
    both = [t for t in tokens if t["logprob_conditional"] is not None]
    assert len(both) > 20
    assert all(t["logprob_unconditional"] <= 0 for t in both)
    assert all(len(t["likeliest_conditional"]) == 5 for t in both)


def test_runs_have_their_values_and_tests_their_verdicts(recorded: Any) -> None:
    told = trajectory(recorded.record)
    runs = [run for program in told["programs"] for run in program["runs"]]
    assert {run["call"] for run in runs} == {"f([1, 2])", "f([])"}
    changed = {v["name"] for run in runs for event in run["events"] for v in event["changed"]}
    assert "total" in changed
    assert [test["status"] for test in told["visible_tests"]] == ["passed", "passed"]
    assert [test["name"] for test in told["hidden_tests"]] == ["assert f([5, 6, 7]) == 18"]


def test_there_are_no_hidden_tests_where_the_visible_ones_decide(
    solve_recorded: Callable[..., Any],
) -> None:
    from .conftest import PROBLEM

    told = trajectory(solve_recorded(gamma=0.0, problem=evolve(PROBLEM, hidden_tests=())).record)
    assert len(told["visible_tests"]) == 2
    assert told["hidden_tests"] == []


def methods(prompt: Any) -> Any:
    recorder = Recorder(UnitEntry(task_id="t", description="Words."))
    if prompt is not None:
        recorder.call("ask", prompt, 0.0, 9, [Reply(text=" yes", finished=True)], "t")
    recorder.attempt(Attempt(program="x = 1", stage="ask"), 9, None)
    return trajectory(load_record(recorder.content()))


def test_of_a_method_that_asks_the_last_exchange_is_told() -> None:
    told = methods(ChatPrompt((ChatMessage("system", "Be."), ChatMessage("user", "Why?")), "So"))
    assert [message["content"] for message in told["prompt"]] == ["Be.", "Why?"]
    assert told["completion"] == [{"role": "assistant", "content": "So yes"}]
    assert (told["label"], told["code"]) == (False, "x = 1")


def test_a_text_prompt_stays_text() -> None:
    told = methods(TextPrompt(("Why", "?")))
    assert (told["prompt"], told["completion"]) == ("Why?", " yes")
    assert methods(None)["prompt"] == "Words."


def test_the_completion_is_the_reply_that_the_answer_comes_from() -> None:
    recorder = Recorder(UnitEntry(task_id="t", description="Words."))
    answer = "import math\n\ndef f(x):\n    return math.sqrt(x)\n"
    replies = ["def f(x):\n    return math.sqrt(x)\n", "Words.\ndef f(x):\n    return x\n"]
    for text in replies:
        reply = Reply(text=text, finished=True)
        recorder.call("sample", TextPrompt(("Why?",)), 0.8, 9, [reply], "t")
    reply = Reply(text=answer, finished=True)
    recorder.call("placebo", TextPrompt(("What?",)), 0.8, 9, [reply], "another")
    recorder.attempt(Attempt(program=answer, stage="sample"), 9, None)
    recorder.verdicts(answer, Score(results=()), Score(results=[PASSED]))
    recorder.verdicts("def f(x):\n    return x\n", Score(results=()), Score(results=[FAILED]))
    told = trajectory(load_record(recorder.content()))
    assert (told["completion"], told["code"], told["label"]) == (replies[0], answer, True)


@pytest.fixture
def folder(tmp_path: Path, recorded: Any) -> ResultsFolder:
    results = ResultsFolder(tmp_path, "mine", "m")
    for task in ("a", "b", "c"):
        path = results.record_path("ns1t0.5d1_ln", task, 1.0)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(recorded.content)
        result = Result(passed=True, record=None if task == "b" else path.name)
        results.write("ns1t0.5d1_ln", task, 1.0, result)
    return results


def test_a_folder_gives_one_of_each_recorded_result(folder: ResultsFolder) -> None:
    found = list(trajectories(folder.results_dir))
    assert [each["idx"] for each in found if isinstance(each, dict)] == [0, 1]


def test_what_is_broken_is_told_and_the_rest_is_given(folder: ResultsFolder) -> None:
    folder.record_path("ns1t0.5d1_ln", "a", 1.0).write_bytes(b"x")
    first, second = trajectories(folder.results_dir)
    assert isinstance(first, RunError)
    assert isinstance(second, dict)


def test_a_record_that_is_missing_is_told(folder: ResultsFolder) -> None:
    folder.record_path("ns1t0.5d1_ln", "a", 1.0).unlink()
    first, second = trajectories(folder.results_dir)
    assert "is missing" in str(first)
    assert isinstance(second, dict)


def test_a_record_that_had_no_room_for_its_answer_is_left_out(folder: ResultsFolder) -> None:
    recorder = Recorder(UnitEntry(task_id="a"), largest=1000)
    for _ in range(3):
        long = random.Random(1).randbytes(40_000).hex()
        recorder.attempt(Attempt(program=long, stage="ask"), 9, None)
    folder.record_path("ns1t0.5d1_ln", "a", 1.0).write_bytes(recorder.content())
    first, second = trajectories(folder.results_dir)
    assert "had no room" in str(first)
    assert isinstance(second, dict)


def test_every_example_has_the_same_types(
    tmp_path: Path, recorded: Any, solve_recorded: Callable[..., Any]
) -> None:
    """As the loader of TRL and verifiers reads them: one type for each key."""
    import datasets

    lines = [
        trajectory(solve_recorded(gamma=0.0).record, 0),
        trajectory(recorded.record, 1),
    ]
    file = tmp_path / "found.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    read = datasets.load_dataset(
        "json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert read.num_rows == 2
    assert read[1]["completion"] == lines[1]["completion"]
    assert read[1]["lines"][3]["tokens"][0]["id"] == lines[1]["lines"][3]["tokens"][0]["id"]
