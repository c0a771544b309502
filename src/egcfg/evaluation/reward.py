"""The sandbox as a reward function: programs of a model in, what their tests say out.

All calls of a process share one sandbox, on an event loop in a thread of its own, whatever threads
and loops they come from: as many programs run at once as the machine has cores, and the others
wait. A text that is no program as it stands is read as a model's answer
(`egcfg.evaluation.samples`). What a program may use is the problem's to say (`Task.time_limit`,
`Task.memory_limit`), with the scorer's defaults.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Self

from attrs import frozen

from egcfg.errors import UsageError
from egcfg.evaluation.judging import JudgedSample, judge_each
from egcfg.evaluation.samples import Sample, whole_program
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.scorer import TestStatus
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create, title_of
from egcfg.sandbox import Sandbox
from egcfg.threads.loop_thread import LoopThread

__all__ = ["Reward", "judge_blocking", "reward", "reward_blocking"]


@frozen(kw_only=True)
class Reward:
    """What its tests say about one program.

    Attributes:
        status: passed if every test passed, else how the first test that did not pass went.
            `TestStatus.SANDBOX_ERROR` says nothing about the program.
        share: how many of the tests passed, from 0 to 1.
        error: one line on what went wrong; None when passed.
        forgeable: whether the program could have changed what its tests found (`Score.forgeable`).
    """

    status: TestStatus
    share: float
    error: str | None = None
    forgeable: bool = False

    @property
    def passed(self) -> bool:
        """Whether every test passed."""
        return self.status is TestStatus.PASSED

    @classmethod
    def of(cls, judged: JudgedSample) -> Self:
        """Return what is kept of a verdict."""
        score, status = judged.score, judged.status
        errors = (result.error for result in score.results if result.status is status)
        return cls(
            status=status,
            share=score.accuracy,
            error=None if score.passed else score.general_error or next(errors, None),
            forgeable=score.forgeable,
        )


async def reward(
    programs: Sequence[str],
    problem: Problem | Sequence[Problem],
    *,
    sandbox: Sandbox | None = None,
) -> list[Reward]:
    """Judge programs by the tests that decide (`Problem.scoring_tests`), in their order.

    Cancelled, it ends the processes of its programs.

    Args:
        programs: each a whole program, or a model's answer with one; hostile ones are welcome.
        problem: the problem of all of them, or one problem for each.
        sandbox: where they run, on the caller's event loop; None: in the one that all calls share.

    Returns:
        One reward per program.

    Raises:
        UsageError: programs and problems do not pair up, or a test is broken or not one of its
            scorer's kind.
        SandboxError: the sandbox runs no program, or failed on too many in a row.
    """
    samples = _samples(programs, problem)
    if sandbox is not None:
        return await _judge(samples, sandbox)
    return await _shared.loop.wait(_judge(samples, _shared.sandbox))


def reward_blocking(
    programs: Sequence[str],
    problem: Problem | Sequence[Problem],
    *,
    sandbox: Sandbox | None = None,
) -> list[Reward]:
    """Do as `reward`, for callers without an event loop; works inside a running one, too.

    Ctrl-C cancels.

    Raises:
        EgcfgError: as `reward`.
    """
    return judge_blocking(_samples(programs, problem), sandbox)


def judge_blocking(samples: Iterable[Sample], sandbox: Sandbox | None = None) -> list[Reward]:
    """Judge samples, whose programs are taken as they stand; otherwise as `reward_blocking`."""
    return _shared.loop.run(_judge(samples, sandbox or _shared.sandbox))


def _samples(programs: Sequence[str], problem: Problem | Sequence[Problem]) -> Iterator[Sample]:
    if isinstance(programs, str):
        raise UsageError("programs is a single text; put it into a list")
    if not isinstance(problem, Problem) and len(problem) != len(programs):
        raise UsageError(
            f"{len(programs)} programs and {len(problem)} problems; give one problem for all "
            "programs, or one for each"
        )
    problems = repeat(problem) if isinstance(problem, Problem) else problem
    # One after another, when there is a slot for it: thousands wait as the texts that they are.
    return (
        Sample(problem=each, program=whole_program(each, text)[0], line=line)
        for line, (text, each) in enumerate(zip(programs, problems, strict=False), start=1)
    )


async def _judge(samples: Iterable[Sample], sandbox: Sandbox) -> list[Reward]:
    rewards: dict[int, Reward] = {}
    with _Scorers() as scorers:
        await judge_each(
            samples,
            scorers,
            sandbox,
            lambda number, judged: rewards.__setitem__(number, Reward.of(judged)),
        )
    return [rewards[number] for number in range(len(rewards))]


class _Scorers(dict[str, OpenComponent]):
    """The scorers of one call, each opened when the first problem asks for it."""

    def __missing__(self, name: str) -> OpenComponent:
        instance = create(Kind.SCORER, name)
        self[name] = OpenComponent(Kind.SCORER, instance, title_of(Kind.SCORER, instance))
        return self[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for scorer in self.values():
            scorer.close()


class _Shared:
    """What the calls of this process share; both start when they are first used."""

    def __init__(self) -> None:
        self.sandbox = Sandbox()
        self.loop = LoopThread()

    def leave_loop(self) -> None:
        """In a forked process: the thread of the loop has stayed behind, the sandbox knows."""
        self.loop = LoopThread()

    def close(self) -> None:
        """Cancel what runs, then end the sandbox."""
        self.loop.close()
        self.sandbox.close()


_shared = _Shared()
os.register_at_fork(after_in_child=_shared.leave_loop)
atexit.register(_shared.close)
