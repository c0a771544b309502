"""Judges samples side by side: one sandbox, one thread for each execution that it runs at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from attrs import frozen

from egcfg.errors import SandboxError
from egcfg.evaluation.samples import Sample
from egcfg.interfaces.scorer import Score, Scorer, TestStatus
from egcfg.sandbox import Sandbox

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


def judge_samples(
    samples: Sequence[Sample],
    scorers: Mapping[str, Scorer],
    sandbox: Sandbox,
    judged: Callable[[], object] = lambda: None,
) -> list[JudgedSample]:
    """Return the verdict of every sample, in their order.

    Args:
        samples: what to judge.
        scorers: by the name that a problem gives as its `scorer`; called from several threads.
        sandbox: runs the programs, as many at once as it has workers.
        judged: called after each sample, in the thread of the caller.

    Raises:
        SandboxError: the sandbox failed; samples that were not begun are left.
        UsageError: a test of the data set is broken, or not one of its scorer's kind.
    """

    def judge(sample: Sample) -> JudgedSample:
        problem = sample.problem
        score = scorers[problem.scorer].score(problem, sample.program, sandbox)
        for test in score.results:
            if test.status is TestStatus.SANDBOX_ERROR:
                raise SandboxError(
                    f"task {problem.task_id}: the sandbox failed: {test.error or 'no cause given'}"
                    "; run `egcfg doctor`"
                )
        return JudgedSample(sample=sample, score=score)

    with ThreadPoolExecutor(sandbox.workers, thread_name_prefix="judge") as pool:
        futures = [pool.submit(judge, sample) for sample in samples]
        try:
            for future in as_completed(futures):
                future.result()
                judged()
        finally:
            # After a failure, or Ctrl-C, nothing more is begun.
            pool.shutdown(wait=False, cancel_futures=True)
    return [future.result() for future in futures]
