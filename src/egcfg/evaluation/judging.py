"""Judges samples side by side, as many at once as the sandbox has workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from egcfg.evaluation.samples import Sample
from egcfg.interfaces.scorer import Score, TestStatus
from egcfg.plugins.component import OpenComponent
from egcfg.sandbox import Sandbox
from egcfg.sandbox.failures import Failures

__all__ = ["JudgedSample", "judge_samples"]


@frozen(kw_only=True)
class JudgedSample:
    """A sample and its verdict.

    Attributes:
        sample: what was judged.
        score: the verdicts of its tests.
    """

    sample: Sample
    score: Score

    @property
    def status(self) -> TestStatus:
        """Passed if every test passed, else the status of the first test that did not."""
        if self.score.passed:
            return TestStatus.PASSED
        return next(
            (r.status for r in self.score.results if r.status is not TestStatus.PASSED),
            TestStatus.ERROR,
        )


async def judge_samples(
    samples: Sequence[Sample],
    scorers: Mapping[str, OpenComponent],
    sandbox: Sandbox,
    judged: Callable[[], object] = lambda: None,
) -> list[JudgedSample]:
    """Return the verdict of every sample, in their order.

    Args:
        samples: what to judge.
        scorers: by the name that a problem gives as its `scorer`.
        sandbox: runs the programs, as many at once as it has workers.
        judged: called after each sample.

    Raises:
        SandboxError: the sandbox runs no program any more, or failed on too many samples in a row;
            those that were not begun are left.
        UsageError: a test of the data set is broken, or not one of its scorer's kind.
        PluginError: a scorer answers wrongly.
    """
    verdicts: dict[int, JudgedSample] = {}
    waiting = iter(enumerate(samples))
    failures = Failures()

    async def work() -> None:
        for number, sample in waiting:
            score = await _judge(sample, scorers[sample.problem.scorer], sandbox)
            failures.note(f"a sample of task {sample.problem.task_id}", score.sandbox_error)
            verdicts[number] = JudgedSample(sample=sample, score=score)
            judged()

    workers = [asyncio.ensure_future(work()) for _ in range(sandbox.workers)]
    try:
        await asyncio.gather(*workers)
    finally:
        # After a failure, or Ctrl-C, nothing goes on.
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [verdicts[number] for number in range(len(samples))]


async def _judge(sample: Sample, scorer: OpenComponent, sandbox: Sandbox) -> Score:
    task = sample.problem.task_id
    score = await scorer.call("score", sample.problem, sample.program, sandbox, task=task)
    if not isinstance(score, Score):
        raise scorer.broken(f"score gave {type(score).__name__}", task)
    return score
