"""Reward functions in the shapes that training libraries call; none of them is imported here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from egcfg.errors import SandboxError, UsageError, did_you_mean
from egcfg.evaluation.reward import Reward, reward, reward_blocking
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.scorer import TestStatus

__all__ = ["GrpoReward", "verifiers_reward"]


def _by_task_id(problems: Iterable[Problem]) -> dict[str, Problem]:
    return {problem.task_id: problem for problem in problems}


@frozen(eq=False)
class GrpoReward:
    """A reward function for TRL's ``GRPOTrainer(reward_funcs=...)`` and trainers of its kind.

    TRL hands a reward function the completions, and as keyword arguments the columns of the data
    set, one value per completion each; a completion is a text, or a list of messages of which the
    last one counts. A completion on which the sandbox failed has no reward (None), which TRL leaves
    out. It can be pickled.

    Attributes:
        problems: those of the data set's tasks, by task id; given as any iterable of problems.
        graded: whether a program's reward is the share of its tests that pass; else it is 1 or 0.
        column: the data set's column with the task ids.

    Raises:
        UsageError: when called: there is no such column, or a task id is none of `problems`; or as
            `egcfg.reward`.
        SandboxError: when called: as `egcfg.reward`.
    """

    problems: Mapping[str, Problem] = field(converter=_by_task_id)
    graded: bool = field(default=False, kw_only=True)
    column: str = field(default="task_id", kw_only=True)

    __name__ = "egcfg_reward"  # what the trainer's logs call it

    def __call__(
        self,
        *,
        completions: Sequence[str | Sequence[Mapping[str, Any]]],
        log_extra: Callable[[str, list[Any]], object] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Return one reward per completion; `log_extra` is told the status of each."""
        if self.column not in columns:
            raise UsageError(
                f"the data set has no column {self.column!r}, which says of each prompt what task "
                f"it is{did_you_mean(self.column, columns)}; add it, or give another column"
            )
        problems = [_problem(self.problems, task_id) for task_id in columns[self.column]]
        rewards = reward_blocking([_text(each) for each in completions], problems)
        if log_extra is not None:
            log_extra("status", [each.status.value for each in rewards])
        return [_value(each, graded=self.graded) for each in rewards]


def verifiers_reward(
    problems: Iterable[Problem], *, graded: bool = False
) -> Callable[[Any, Any], Awaitable[float]]:
    """Return a reward function ``(task, trace) -> float`` for ``verifiers`` (``verifiers.v1``).

    It is plugged in by its import path, in a taskset's configuration
    (``rewards = {"tests": {"fn": "package.module:name"}}``), or awaited in a task's own
    ``@vf.reward`` method. What it judges is the trace's last reply; the task's data says with its
    ``id``, or its ``name`` where it has none, which problem that answers.

    Args:
        problems: those of the taskset.
        graded: whether a program's reward is the share of its tests that pass; else it is 1 or 0.

    Raises:
        UsageError: when called: the task's id is none of `problems`; or as `egcfg.reward`.
        SandboxError: when called: the sandbox failed on the program; or as `egcfg.reward`.
    """
    known = _by_task_id(problems)

    async def egcfg_reward(task: Any, trace: Any) -> float:
        # Before verifiers 0.4 a task has no id.
        task_id = getattr(task, "id", None) or getattr(task, "name", None)
        [judged] = await reward([trace.last_reply], _problem(known, task_id))
        value = _value(judged, graded=graded)
        if value is None:
            raise SandboxError(f"the sandbox failed on an answer to {task_id}: {judged.error}")
        return value

    return egcfg_reward


def _problem(problems: Mapping[str, Problem], task_id: Any) -> Problem:
    if task_id not in problems:
        raise UsageError(
            f"no problem has the task id {task_id!r}{did_you_mean(str(task_id), problems)}; give "
            "the problems of the whole data set"
        )
    return problems[task_id]


def _text(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a completion; of messages, that of the last one."""
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else None
    if isinstance(content, str) or content is None:
        return content or ""
    return "".join(part.get("text") or "" for part in content)


def _value(judged: Reward, *, graded: bool) -> float | None:
    if judged.status is TestStatus.SANDBOX_ERROR:
        return None
    return judged.share if graded else float(judged.passed)
