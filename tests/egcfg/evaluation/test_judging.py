from __future__ import annotations

import threading

import pytest

from egcfg.errors import SandboxError
from egcfg.evaluation.judging import judge_samples
from egcfg.evaluation.samples import Sample
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.scorer import Score, Scorer, TestResult, TestStatus
from egcfg.sandbox import Sandbox
from egcfg.scorers.asserts import AssertsScorer
from egcfg.scorers.judged import ScorerOptions

PROBLEM = Problem(
    task_id="square",
    description="",
    entry_point="f",
    visible_tests=[AssertTest("assert f(3) == 9"), AssertTest("assert f(-2) == 4")],
)


def sample(program: str, line: int = 1) -> Sample:
    return Sample(problem=PROBLEM, program=program, line=line)


class Answers(Scorer):
    """Answers without running anything, and remembers what it was asked."""

    Options = ScorerOptions

    def __init__(self, answer) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def score(self, problem: Problem, code: str, sandbox: Sandbox) -> Score:  # noqa: ARG002 - the seam's
        self.asked.append(code)
        status = self.answer(code)
        return Score(results=[TestResult(name="t", status=status, seconds=0.0, error="why")])


def test_verdicts_come_in_the_order_of_the_samples_whichever_is_done_first() -> None:
    programs = [
        "def f(x):\n    import time\n    time.sleep(0.3)\n    return x * x\n",
        *(f"def f(x):\n    return x * x + {n % 2}\n" for n in range(8)),
        "def f(x):\n    return x * 3\n",
        "def f(x:\n",
        "",
    ]
    done = []
    with Sandbox(workers=3) as sandbox:
        judged = judge_samples(
            [sample(program, line) for line, program in enumerate(programs)],
            {"asserts": AssertsScorer(ScorerOptions())},
            sandbox,
            lambda: done.append(threading.current_thread()),
        )

    assert [one.sample.line for one in judged] == list(range(len(programs)))
    assert [one.status.value for one in judged] == [
        "passed",
        *(["passed", "failed"] * 4),
        "failed",
        "error",
        "error",
    ]
    # The one that is right for the first test only.
    assert [r.status.value for r in judged[9].score.results] == ["passed", "failed"]
    assert done == [threading.main_thread()] * len(programs)


def test_as_many_are_judged_at_once_as_the_sandbox_has_workers() -> None:
    together = threading.Barrier(3)

    def answer(_code: str) -> TestStatus:
        together.wait(timeout=30)  # breaks unless three are here at once
        return TestStatus.PASSED

    judged = judge_samples(
        [sample(str(n)) for n in range(6)], {"asserts": Answers(answer)}, Sandbox(workers=3)
    )

    assert all(one.score.passed for one in judged)


def test_a_failing_sandbox_stops_the_work_with_its_cause() -> None:
    def answer(code: str) -> TestStatus:
        return TestStatus.SANDBOX_ERROR if code == "2" else TestStatus.PASSED

    with pytest.raises(SandboxError, match="task square: the sandbox failed: why; run"):
        judge_samples(
            [sample(str(n)) for n in range(500)], {"asserts": Answers(answer)}, Sandbox(workers=1)
        )


def test_nothing_is_begun_after_an_interruption() -> None:
    scorer = Answers(lambda _: TestStatus.PASSED)
    going_on = threading.Event()

    def answer(_code: str) -> TestStatus:
        if len(scorer.asked) > 1:
            going_on.wait(timeout=30)
        return TestStatus.PASSED

    def interrupt() -> None:
        threading.Timer(0.05, going_on.set).start()
        raise KeyboardInterrupt

    scorer.answer = answer
    with pytest.raises(KeyboardInterrupt):
        judge_samples(
            [sample(str(n)) for n in range(100)], {"asserts": scorer}, Sandbox(workers=1), interrupt
        )

    assert len(scorer.asked) <= 2
