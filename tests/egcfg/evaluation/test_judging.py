from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from egcfg.errors import PluginError, SandboxError
from egcfg.evaluation.judging import JudgedSample, judge_samples
from egcfg.evaluation.samples import Sample
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.scorer import Score, Scorer, TestResult, TestStatus
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
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

    def __init__(self, answer: Callable[[str], Any]) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def score(self, problem: Problem, code: str, sandbox: Sandbox) -> Score:  # noqa: ARG002 - the seam's
        self.asked.append(code)
        status = await self.answer(code)
        return Score(results=[TestResult(name="t", status=status, seconds=0.0, error="why")])


def scorers(scorer: Scorer) -> Mapping[str, OpenComponent]:
    return {"asserts": OpenComponent(Kind.SCORER, scorer, "the scorer 'asserts' of test 1")}


def judge(
    programs: list[str],
    scorer: Scorer,
    workers: int,
    judged: Callable[[JudgedSample], object] = lambda _: None,
) -> list[JudgedSample]:
    async def judged_here() -> list[JudgedSample]:
        samples = [sample(program, line) for line, program in enumerate(programs)]
        async with Sandbox(workers=workers) as sandbox:
            return await judge_samples(samples, scorers(scorer), sandbox, judged)

    return asyncio.run(judged_here())


def test_verdicts_come_in_the_order_of_the_samples_whichever_is_done_first() -> None:
    programs = [
        "def f(x):\n    import time\n    time.sleep(0.3)\n    return x * x\n",
        *(f"def f(x):\n    return x * x + {n % 2}\n" for n in range(8)),
        "def f(x):\n    return x * 3\n",
        "def f(x:\n",
        "",
    ]
    done: list[JudgedSample] = []
    judged = judge(programs, AssertsScorer(ScorerOptions()), 3, done.append)

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
    assert sorted(done, key=lambda one: one.sample.line) == judged
    assert all(one.isolation.layers for one in judged)


def test_as_many_are_judged_at_once_as_the_sandbox_has_workers() -> None:
    at_once = most = 0

    async def answer(_code: str) -> TestStatus:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        for _ in range(9):
            await asyncio.sleep(0)  # whoever can begin does
        at_once -= 1
        return TestStatus.PASSED

    judged = judge([str(n) for n in range(7)], Answers(answer), 3)

    assert all(one.score.passed for one in judged)
    assert most == 3


def test_samples_that_the_sandbox_fails_on_are_verdicts_of_their_own() -> None:
    async def answer(code: str) -> TestStatus:
        # Often, but never five in a row.
        return TestStatus.PASSED if int(code) % 5 == 4 else TestStatus.SANDBOX_ERROR

    judged = judge([str(n) for n in range(50)], Answers(answer), 1)
    assert Counter(one.status for one in judged) == {
        TestStatus.PASSED: 10,
        TestStatus.SANDBOX_ERROR: 40,
    }


def test_a_sandbox_that_fails_on_five_in_a_row_stops_the_work_with_its_cause() -> None:
    async def answer(code: str) -> TestStatus:
        return TestStatus.SANDBOX_ERROR if int(code) > 1 else TestStatus.PASSED

    scorer = Answers(answer)
    message = "5 programs in a row, last on a sample of task square: why; see `egcfg doctor`"
    with pytest.raises(SandboxError, match=message):
        judge([str(n) for n in range(500)], scorer, 1)
    assert scorer.asked == [str(n) for n in range(7)]


def test_a_scorer_that_answers_wrongly_is_named() -> None:
    class Silent(Answers):
        def score(self, problem: Problem, code: str, sandbox: Sandbox) -> Any:  # noqa: ARG002
            return None

    with pytest.raises(PluginError, match="'asserts' of test 1 is broken on task square: score"):
        judge(["x = 1"], Silent(lambda _: None), 1)


def test_nothing_is_begun_or_goes_on_after_a_cancellation() -> None:
    ended = []

    async def answer(code: str) -> TestStatus:
        if code == "1":
            work.cancel()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(code)
        return TestStatus.PASSED

    scorer = Answers(answer)

    async def cancelled() -> None:
        nonlocal work
        samples = [sample(str(n)) for n in range(100)]
        async with Sandbox(workers=1) as sandbox:
            work = asyncio.ensure_future(judge_samples(samples, scorers(scorer), sandbox))
            with pytest.raises(asyncio.CancelledError):
                await work

    work: asyncio.Future[Any]
    asyncio.run(cancelled())
    assert scorer.asked == ["0", "1"]
    assert ended == ["1"]
