"""Judges samples side by side, as many at once as the sandbox has workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from attrs import frozen

from egcfg.evaluation.samples import Sample
from egcfg.interfaces.scorer import Score, TestStatus
from egcfg.plugins.component import OpenComponent
from egcfg.sandbox import Level, Sandbox
from egcfg.sandbox.failures import Failures
from egcfg.sandbox.slots import one_caller

__all__ = ["Isolation", "JudgedSample", "judge_each", "judge_samples"]


@frozen(kw_only=True)
class Isolation:
    """What protected this machine from a program, as in `egcfg.sandbox.SandboxReport`.

    Attributes:
        level: how much held in all.
        layers: layer -> "active", or why it was not.
    """

    level: Level
    layers: Mapping[str, str]

    @property
    def missing(self) -> tuple[str, ...]:
        """The layers that were not active."""
        return tuple(name for name, state in self.layers.items() if state != "active")

    @classmethod
    async def of(cls, sandbox: Sandbox) -> Self:
        """Return what a sandbox has.

        Raises:
            SandboxError: it does not start.
        """
        report = await sandbox.report()
        return cls(level=report.level, layers=report.layers)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"level": self.level.value, "layers": dict(self.layers)}


@frozen(kw_only=True)
class JudgedSample:
    """A sample and its verdict.

    Attributes:
        sample: what was judged.
        score: the verdicts of its tests.
        isolation: under which its program ran.
    """

    sample: Sample
    score: Score
    isolation: Isolation

    @property
    def status(self) -> TestStatus:
        """Passed if every test passed, else the status of the first test that did not.

        A test on which the sandbox failed comes before all others: the sample was not judged.
        """
        if self.score.passed:
            return TestStatus.PASSED
        statuses = [r.status for r in self.score.results if r.status is not TestStatus.PASSED]
        if TestStatus.SANDBOX_ERROR in statuses:
            return TestStatus.SANDBOX_ERROR
        return statuses[0] if statuses else TestStatus.ERROR


async def judge_samples(
    samples: Sequence[Sample],
    scorers: Mapping[str, OpenComponent],
    sandbox: Sandbox,
    judged: Callable[[JudgedSample], object] = lambda _: None,
) -> list[JudgedSample]:
    """Return the verdict of every sample, in their order.

    Args:
        samples: as for `judge_each`.
        scorers: likewise.
        sandbox: likewise.
        judged: called with each verdict as soon as it is there.

    Raises:
        EgcfgError: as `judge_each`.
    """
    verdicts: dict[int, JudgedSample] = {}

    def keep(number: int, verdict: JudgedSample) -> None:
        verdicts[number] = verdict
        judged(verdict)

    await judge_each(samples, scorers, sandbox, keep)
    return [verdicts[number] for number in range(len(samples))]


async def judge_each(
    samples: Iterable[Sample],
    scorers: Mapping[str, OpenComponent],
    sandbox: Sandbox,
    judged: Callable[[int, JudgedSample], object],
) -> None:
    """Judge every sample; keep nothing of those that are done.

    Samples on which the sandbox fails are `TestStatus.SANDBOX_ERROR`, and the others are judged all
    the same.

    Args:
        samples: what to judge; each is taken when a worker is free for it.
        scorers: by the name that a problem gives as its `scorer`.
        sandbox: runs the programs, as many at once as it has workers.
        judged: called with each verdict as soon as it is there, and the sample's place from 0.

    Raises:
        SandboxError: the sandbox runs no program any more, or failed on too many samples in a row;
            those that were not begun are left.
        UsageError: a test of the data set is broken, or not one of its scorer's kind.
        PluginError: a scorer answers wrongly.
        EgcfgError: whatever `judged` raises of these.
    """
    isolation = await Isolation.of(sandbox)
    waiting = iter(enumerate(samples))
    failures = Failures()

    async def work() -> None:
        for number, sample in waiting:
            score = await _judge(sample, scorers[sample.problem.scorer], sandbox)
            judged(number, JudgedSample(sample=sample, score=score, isolation=isolation))
            failures.note(f"a sample of task {sample.problem.task_id}", score.sandbox_error)

    with one_caller():
        workers = [asyncio.ensure_future(work()) for _ in range(sandbox.workers)]
    try:
        await asyncio.gather(*workers)
    finally:
        # After a failure, or Ctrl-C, nothing goes on.
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _judge(sample: Sample, scorer: OpenComponent, sandbox: Sandbox) -> Score:
    task = sample.problem.task_id
    score = await scorer.call("score", sample.problem, sample.program, sandbox, task=task)
    if not isinstance(score, Score):
        raise scorer.broken(f"score gave {type(score).__name__}", task)
    return score
