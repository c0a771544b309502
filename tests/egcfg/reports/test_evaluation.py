from __future__ import annotations

import orjson
import pytest

from egcfg.evaluation.judging import JudgedSample
from egcfg.evaluation.samples import Sample
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.scorer import Score, TestResult, TestStatus
from egcfg.reports.evaluation import as_json, as_json_lines, as_text, evaluate


def judged(task, *statuses, line=1, extracted=False, error="why"):
    problem = Problem(
        task_id=task, description="", entry_point="f", visible_tests=[AssertTest("assert f()")]
    )
    results = [
        TestResult(
            name=f"test {number}",
            status=TestStatus(status),
            seconds=0.25,
            error=None if status == "passed" else error,
        )
        for number, status in enumerate(statuses)
    ]
    return JudgedSample(
        sample=Sample(problem=problem, program="", line=line, extracted=extracted),
        score=Score(results=results),
    )


def test_a_sample_has_the_status_of_its_first_test_that_did_not_pass():
    assert judged("a", "passed", "passed").status is TestStatus.PASSED
    assert judged("a", "passed", "timeout", "failed").status is TestStatus.TIMEOUT
    assert judged("a").status is TestStatus.ERROR


def test_the_usual_ks_are_reported_as_far_as_every_task_has_samples():
    ten = [judged("a", "passed" if number < 5 else "failed") for number in range(10)]

    assert evaluate(ten, "d", 1).pass_at_k == pytest.approx({1: 0.5, 10: 1.0})
    assert evaluate([*ten, judged("b", "failed")], "d", 2).pass_at_k == pytest.approx({1: 0.25})
    assert not evaluate([*ten, judged("b", "failed")], "d", 2).short_tasks


def test_a_k_that_was_asked_for_and_cannot_be_had_is_told():
    pair = [judged("a", "passed"), judged("a", "failed"), judged("b", "passed")]
    evaluation = evaluate(pair, "d", 5, [2, 1, 2])

    assert (evaluation.pass_at_k, evaluation.short_tasks) == ({1: 0.75}, {2: 1})
    assert "pass@2        not computed: 1 task has fewer than 2 samples" in as_text(evaluation)
    assert "3 tasks without a sample; pass@k leaves them out" in as_text(evaluation)


def test_every_status_is_counted_and_adds_up():
    every = [judged("a", status, extracted=status == "failed") for status in TestStatus]
    evaluation = evaluate(every, "d", 1)

    assert evaluation.statuses == dict.fromkeys(TestStatus, 1)
    numbers = orjson.loads(as_json(evaluation))
    assert numbers["statuses"] == {status.value: 1 for status in TestStatus}
    assert numbers["pass_at_k"] == {"1": pytest.approx(1 / 7)}
    assert numbers["extracted"] == 1
    assert "note: 1 sample read as a response" in as_text(evaluation)
    assert "note: unsupported results" in as_text(evaluation)


def test_json_lines_hold_each_test_also_with_text_that_json_cannot_hold():
    lines = as_json_lines([judged("a", "passed", "error", line=7, error="\ud800")]).splitlines()

    (row,) = map(orjson.loads, lines)
    assert (row["task_id"], row["line"], row["passed"], row["status"]) == ("a", 7, False, "error")
    assert row["tests"] == [
        {"name": "test 0", "status": "passed", "seconds": 0.25, "error": None},
        {"name": "test 1", "status": "error", "seconds": 0.25, "error": "\\ud800"},
    ]
