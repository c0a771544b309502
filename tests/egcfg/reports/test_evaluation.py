from __future__ import annotations

import orjson
import pytest

from egcfg.evaluation.judging import Isolation, JudgedSample
from egcfg.evaluation.samples import Sample
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.scorer import Score, TestResult, TestStatus
from egcfg.reports.evaluation import as_json, as_text, evaluate
from egcfg.sandbox import LAYERS, Level

FULL = Isolation(level=Level.FULL, layers=dict.fromkeys(LAYERS, "active"))
WEAKER = Isolation(
    level=Level.STRONG,
    layers={**FULL.layers, "pid namespace": "not permitted", "landlock": "no kernel"},
)


def judged(task, *statuses, line=1, extracted=False, empty=False, isolation=FULL):
    problem = Problem(
        task_id=task, description="", entry_point="f", visible_tests=[AssertTest("assert f()")]
    )
    results = [
        TestResult(
            name=f"test {number}",
            status=TestStatus(status),
            seconds=0.25,
            error=None if status == "passed" else "why",
        )
        for number, status in enumerate(statuses)
    ]
    return JudgedSample(
        sample=Sample(problem=problem, program="", line=line, extracted=extracted, empty=empty),
        score=Score(results=results),
        isolation=isolation,
    )


def test_a_sample_has_the_status_of_its_first_test_that_did_not_pass():
    assert judged("a", "passed", "passed").status is TestStatus.PASSED
    assert judged("a", "passed", "timeout", "failed").status is TestStatus.TIMEOUT
    assert judged("a").status is TestStatus.ERROR


def test_a_sample_with_a_test_that_was_not_judged_was_not_judged():
    assert judged("a", "failed", "sandbox_error").status is TestStatus.SANDBOX_ERROR


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
    assert "note: sandbox_error says nothing about a sample" in as_text(evaluation)


def test_samples_without_a_completion_are_counted():
    evaluation = evaluate([judged("a", "error", empty=True), judged("a", "passed")], "d", 1)

    assert orjson.loads(as_json(evaluation))["empty"] == 1
    assert "note: 1 sample without a completion, judged as empty" in as_text(evaluation)


def test_a_report_says_the_isolation_and_of_two_the_weaker():
    full = evaluate([judged("a", "passed")], "d", 1)
    mixed = evaluate([judged("a", "passed"), judged("a", "passed", isolation=WEAKER)], "d", 1)

    assert "\nisolation: full\n" in as_text(full)
    assert "\nisolation: strong, without pid namespace, landlock\n" in as_text(mixed)
    assert orjson.loads(as_json(full))["isolation"]["level"] == "full"
    assert orjson.loads(as_json(mixed))["isolation"] == {
        "level": "strong",
        "layers": dict(WEAKER.layers),
    }
