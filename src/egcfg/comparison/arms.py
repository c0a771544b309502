"""What is compared: arms, each with the course of its answers to every task and what they cost."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from egcfg.interfaces.usage import Usage
from egcfg.reports.aggregate import TestCounts
from egcfg.runs.config_string import method_of

__all__ = ["COUNTS", "Answer", "Arm", "Axis", "Outcome", "counts_of"]


class Axis(enum.StrEnum):
    """What a budget per task is counted in.

    ``TOKENS``: tokens that the model worked through: prompt tokens that no cache answered, and
    generated ones (sampled or chosen, those of dropped candidates included), as `Usage.tokens` and
    ``--tokens-per-task`` count. ``ALL_TOKENS``: prompt tokens that a cache answered as well.
    ``OUTPUT``: generated ones alone. ``CALLS``: questions that the model had to work for.
    ``PASSES``: passes through a local model. ``REQUESTS``: to an endpoint. ``EXECUTIONS``: of
    programs, before the verdict.
    """

    TOKENS = "tokens"
    ALL_TOKENS = "all-tokens"
    OUTPUT = "output"
    CALLS = "calls"
    PASSES = "passes"
    REQUESTS = "requests"
    EXECUTIONS = "executions"

    @property
    def parts(self) -> tuple[str, ...]:
        """The counts that it is the sum of."""
        return _PARTS.get(self, (self.value,))

    @property
    def of_tokens(self) -> bool:
        """Whether it counts tokens."""
        return self in (Axis.TOKENS, Axis.ALL_TOKENS, Axis.OUTPUT)

    def cost(self, counts: Mapping[str, int]) -> int | None:
        """Return how far along the axis something is; None: its counts do not say."""
        if all(part in counts for part in self.parts):
            return sum(counts[part] for part in self.parts)
        return counts.get(self.value)


_PARTS: Mapping[Axis, tuple[str, ...]] = {
    Axis.TOKENS: ("uncached", "output"),
    Axis.ALL_TOKENS: ("uncached", "cached", "output"),
}
COUNTS = ("uncached", "cached", "output", "calls", "passes", "requests", "executions")
"""What is counted of a task: prompt tokens that no cache answered, those that one did, generated
tokens; and the rest as `Axis` has it."""


def counts_of(usage: Usage, calls: int | None, executions: int | None) -> dict[str, int]:
    """Return the counts of what a model and the sandbox did; unknown ones are left out."""
    known = {
        "uncached": usage.uncached_tokens,
        "cached": usage.cached_tokens,
        "output": usage.output_tokens,
        "calls": calls,
        "passes": usage.forward_passes,
        "requests": usage.requests,
        "executions": executions,
    }
    return {name: count for name, count in known.items() if count is not None}


@frozen(kw_only=True)
class Answer:
    """An answer to a task: it stands until the next one.

    Attributes:
        passed: whether it passed all scoring tests.
        visible: whether it passed all visible tests; None: nobody knows, or there are none.
        counts: what the task had cost by then, by the names of `COUNTS`; without those that nobody
            wrote down. An axis' own name stands for a sum whose parts are not known.
    """

    passed: bool
    visible: bool | None = None
    counts: Mapping[str, int] = field(factory=dict)


@frozen(kw_only=True)
class Outcome:
    """What an arm made of a task.

    Attributes:
        task_id: the task.
        answers: in their order; the last one is the arm's answer.
        rate: share of the arm's samples that passed, where several stand side by side instead.
        counts: what the whole work on the task cost, as in `Answer`.
        seconds: of that work; None where tasks shared their time, or nobody wrote it down.
        problem_sha256: fingerprint of the problem with its tests; None: nobody wrote it down.
        seen: number of visible tests; None likewise.
        scored: number of tests that decided; None likewise.
        both: number of tests that were seen and decided; None likewise.
        sandbox_error: whether the sandbox failed on a test, so that nothing was decided.
    """

    task_id: str
    answers: tuple[Answer, ...] = ()
    rate: float | None = None
    counts: Mapping[str, int] = field(factory=dict)
    seconds: float | None = None
    problem_sha256: str | None = None
    seen: int | None = None
    scored: int | None = None
    both: int | None = None
    sandbox_error: bool = False

    @property
    def solved(self) -> float:
        """1 if the answer at the end passed, else 0; of several samples the share that did."""
        if self.rate is not None:
            return self.rate
        return float(bool(self.answers) and self.answers[-1].passed)

    @property
    def reachable(self) -> bool:
        """Whether any answer passed that stood at some time; of several samples, whether any did.

        Methods keep the answers that they held for their best one, not all that they drew.
        """
        return bool(self.rate) or any(answer.passed for answer in self.answers)

    @property
    def false_accept(self) -> bool | None:
        """Whether the answer passed all visible tests but not the scoring ones; None: unknown, or
        it did not pass the visible ones."""
        if not self.answers or not self.answers[-1].visible:
            return None
        return not self.answers[-1].passed

    def cost(self, answer: Answer, axis: Axis) -> int | None:
        """Return what the task had cost when an answer was there.

        Where nobody wrote that down, it is what the whole work cost: later than it was, if at all.
        """
        known = axis.cost(answer.counts)
        return axis.cost(self.counts) if known is None else known

    def solved_within(self, budget: float, axis: Axis) -> float | None:
        """Return `solved` of the answer that stands at a budget; None: its cost is not known."""
        standing = None if self.rate is not None else 0.0
        for answer in self.answers:
            cost = self.cost(answer, axis)
            if cost is None:
                return None
            if cost <= budget:
                standing = float(answer.passed)
        return standing


@frozen(kw_only=True)
class Arm:
    """A method with its options, on the tasks of a data set: a line of the comparison.

    Attributes:
        label: what it is called.
        dataset: name of the data set or protocol, as results have it; None: not known.
        model: name of the model, likewise.
        config: name of its configuration's folder, likewise.
        gamma: guidance strength; None where a whole method is the unit.
        outcomes: by task id, of the tasks that it finished.
        planned: ids of the tasks that its runs were to do; empty: not known.
        skipped: tasks left out because another configuration had solved them.
        unreadable: result files that say nothing, each with the reason.
        provenance: whatever else its results were made with, as JSON values; empty: not known.
    """

    label: str
    dataset: str | None = None
    model: str | None = None
    config: str | None = None
    gamma: float | None = None
    outcomes: Mapping[str, Outcome] = field(factory=dict, repr=False)
    planned: tuple[str, ...] = field(default=(), repr=False)
    skipped: int = 0
    unreadable: Mapping[str, str] = field(factory=dict, repr=False)
    provenance: Mapping[str, Any] = field(factory=dict, repr=False)

    @property
    def method(self) -> str | None:
        """Name of the method, as its folder has it; None where decoding over a grid is the unit,
        or nobody knows."""
        return method_of(self.config or "")

    @property
    def tests(self) -> TestCounts:
        """How many tests of a task were seen and scored."""
        return TestCounts.of((each.seen, each.scored, each.both) for each in self.outcomes.values())

    def mean(self, count: str) -> float | None:
        """Return the mean of a count over the tasks; None: some do not say."""
        found = [each.counts.get(count) for each in self.outcomes.values()]
        return _mean(found)

    @property
    def mean_seconds(self) -> float | None:
        """Mean of the seconds over the tasks; None: some do not say, or shared their time."""
        return _mean([each.seconds for each in self.outcomes.values()])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
