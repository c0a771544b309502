"""What arms solve within budgets, held against each other: pure functions of arms."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import median

from attrs import evolve, frozen

from egcfg.comparison.arms import Arm, Axis, Outcome
from egcfg.comparison.sameness import differing_settings
from egcfg.comparison.statistics import mcnemar, mean_interval, paired_interval
from egcfg.errors import UnknownNameError, UsageError
from egcfg.reports.statistics import changes

__all__ = [
    "Comparison",
    "Duel",
    "Row",
    "Share",
    "common_tasks",
    "compare",
    "curve",
    "default_budgets",
]

BAR = "best_of_n"
"""The method that every other one must pass, and so the usual baseline."""
MOST_BUDGETS = 8
LEAST_TOKENS = 125


@frozen(kw_only=True)
class Share:
    """Tasks that an arm solved within a budget.

    Attributes:
        budget: per task; None: whatever it took.
        solved: how many; a fraction where an arm has several samples of a task.
        tasks: of how many.
        interval: 95 % interval of the share, from 0 to 1.
    """

    budget: int | None
    solved: float
    tasks: int
    interval: tuple[float, float]

    @property
    def percent(self) -> float:
        """Of the tasks."""
        return 100 * self.solved / self.tasks


@frozen(kw_only=True)
class Row:
    """One arm.

    Attributes:
        arm: the arm, without the tasks that are not compared.
        tasks: tasks that any arm finished or was to do.
        shares: one per budget, and the last of whatever it took; None: its costs are not known.
        reachable: tasks that any answer solved which stood at some time (`Outcome.reachable`).
        accepted: tasks whose answer passed all visible tests, as far as that is known.
        false_accepts: those of them that did not pass the scoring ones.
        sandbox_errors: tasks that count as not solved because the sandbox failed on them.
    """

    arm: Arm
    tasks: int
    shares: tuple[Share | None, ...]
    reachable: int
    accepted: int
    false_accepts: int
    sandbox_errors: int

    @property
    def done(self) -> int:
        """Tasks that it finished."""
        return len(self.arm.outcomes)


@frozen(kw_only=True)
class Duel:
    """An arm held against a baseline within one budget, on the tasks that both finished.

    Attributes:
        label: the arm.
        baseline: the other one.
        budget: per task, of both; None: whatever each took.
        tasks: that both finished.
        gained: tasks that the arm alone solved.
        lost: tasks that the baseline alone solved.
        p: two-sided, of McNemar's exact test.
        difference: of the solved shares, from -1 to 1.
        interval: its 95 % interval; None: no two tasks differ.
    """

    label: str
    baseline: str
    budget: int | None
    tasks: int
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    p: float
    difference: float
    interval: tuple[float, float] | None


@frozen(kw_only=True)
class Comparison:
    """Arms side by side.

    Attributes:
        axis: what budgets are counted in.
        budgets: per task, ascending.
        rows: one per arm, in the order in which they were given.
        duels: by arm, baseline and budget.
        tasks: tasks that any arm finished.
        planned: how many tasks any arm finished or was to do.
        union: tasks that any arm solved: by its answer, or by every one of its samples.
        reachable: tasks that are `reachable` of any arm.
        notes: what a reader should know.
    """

    axis: Axis
    budgets: tuple[int, ...]
    rows: tuple[Row, ...]
    duels: tuple[Duel, ...]
    tasks: tuple[str, ...]
    planned: int
    union: tuple[str, ...]
    reachable: tuple[str, ...]
    notes: tuple[str, ...]


def compare(
    arms: Sequence[Arm],
    *,
    axis: Axis = Axis.TOKENS,
    budgets: Sequence[int] = (),
    baselines: Sequence[str] = (),
) -> Comparison:
    """Return what arms solve within budgets, and how they stand against baselines.

    Args:
        arms: at least one, each with a label of its own.
        axis: what budgets are counted in.
        budgets: per task; none: `default_budgets`.
        baselines: labels, or the beginning of one; none: the arm called `best_of_n`, else the only
            one of that method.

    Raises:
        UsageError: no arm has finished a task, none spent anything of what the axis counts, or no
            single arm is called as a baseline.
        MissingExtraError: scipy is not installed.
    """
    planned = len({task for arm in arms for task in (*arm.outcomes, *arm.planned)})
    bases = [_named(label, arms) for label in baselines]
    left_out = [arm for arm in arms if not arm.outcomes]
    arms = [arm for arm in arms if arm.outcomes]
    if not arms:
        raise UsageError("no arm has finished a task yet; wait for the first results")
    if {0} == {cost for arm in arms for cost in _end_costs(arm, axis)}:
        others = [each for each in Axis if any(any(_end_costs(arm, each)) for arm in arms)]
        counted = f"; what has counts: {', '.join(others)}" if others else ""
        raise UsageError(f"no arm spent any {axis}, so there is nothing to compare{counted}")
    chosen = tuple(sorted(set(budgets))) or default_budgets(arms, axis)
    bases = bases or _usual(arms)
    notes = [f"left out: {arm.label}: 0 of {planned} tasks finished" for arm in left_out]
    notes += [note for arm in left_out for note in _files_left_out(arm)]
    if not bases:
        notes.append("no baseline: gained and lost tasks are told with --baseline LABEL")
    elif not baselines and len(bases) > 1:
        notes.append(f"{len(bases)} arms of {BAR}: choose one with --baseline LABEL")
        bases = []
    tasks = tuple(dict.fromkeys(task for arm in arms for task in arm.outcomes))
    rows = tuple(_row(arm, planned, chosen, axis) for arm in arms)
    duels: list[Duel] = []
    for arm, base in [(arm, base) for base in bases for arm in arms if arm is not base]:
        if why := _untested(arm, base):
            notes.append(f"{arm.label} is not tested against {base.label}: {why}")
            continue
        found = [_duel(arm, base, budget, axis) for budget in (*chosen, None)]
        duels += [duel for duel in found if duel is not None]
    outcomes = [outcome for arm in arms for outcome in arm.outcomes.values()]
    return Comparison(
        axis=axis,
        budgets=chosen,
        rows=rows,
        duels=tuple(duels),
        tasks=tasks,
        planned=planned,
        union=_in_order(tasks, {each.task_id for each in outcomes if each.solved == 1}),
        reachable=_in_order(tasks, {each.task_id for each in outcomes if each.reachable}),
        notes=(*notes, *_notes(rows, axis)),
    )


def common_tasks(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms with the tasks that all of them finished, but for arms that finished none.

    Raises:
        UsageError: there is no such task.
    """
    finished = [set(arm.outcomes) for arm in arms if arm.outcomes]
    common = set.intersection(*finished) if finished else set()
    if not common:
        raise UsageError("no task was finished by every arm; choose arms with --arm")
    return [
        evolve(
            arm,
            outcomes={t: each for t, each in arm.outcomes.items() if t in common},
            planned=tuple(t for t in arm.planned if t in common),
        )
        for arm in arms
    ]


def default_budgets(arms: Sequence[Arm], axis: Axis) -> tuple[int, ...]:
    """Return budgets that double, from about what the cheapest arm takes to where all is said.

    They are round: 1000 tokens, or one of anything else, times a power of two.
    """
    costs = [_end_costs(arm, axis) for arm in arms]
    known = [each for each in costs if each]
    if not known:
        return ()
    least, budget = min(median(each) for each in known), 1000.0 if axis.of_tokens else 1.0
    while axis.of_tokens and budget > max(least, LEAST_TOKENS):
        budget /= 2
    while budget * 2 <= least:
        budget *= 2
    found, most = [int(budget)], max(max(each) for each in known)
    while found[-1] < most and len(found) < MOST_BUDGETS:
        found.append(found[-1] * 2)
    return tuple(found)


def curve(arm: Arm, axis: Axis) -> list[tuple[int, float]]:
    """Return at which costs the number of solved tasks changes, and what it is from there on.

    Empty where the costs are not known.
    """
    changes: dict[int, float] = {}
    for outcome in arm.outcomes.values():
        before = 0.0
        for answer in outcome.answers:
            cost = outcome.cost(answer, axis)
            if cost is None:
                return []
            changes[cost] = changes.get(cost, 0.0) + answer.passed - before
            before = float(answer.passed)
        if outcome.rate is not None:
            return []
    solved, points = 0.0, []
    for cost in sorted(changes):
        solved += changes[cost]
        points.append((cost, solved))
    return points


def _row(arm: Arm, tasks: int, budgets: Sequence[int], axis: Axis) -> Row:
    outcomes = arm.outcomes.values()
    verdicts = [each.false_accept for each in outcomes]
    return Row(
        arm=arm,
        tasks=tasks,
        shares=tuple(_share(arm, budget, axis) for budget in (*budgets, None)),
        reachable=sum(each.reachable for each in outcomes),
        accepted=sum(verdict is not None for verdict in verdicts),
        false_accepts=sum(verdict is True for verdict in verdicts),
        sandbox_errors=sum(each.sandbox_error for each in outcomes),
    )


def _share(arm: Arm, budget: int | None, axis: Axis) -> Share | None:
    values = [_solved(each, budget, axis) for each in arm.outcomes.values()]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return Share(budget=budget, solved=sum(known), tasks=len(known), interval=mean_interval(known))


def _untested(arm: Arm, base: Arm) -> str:
    """Return why an arm cannot be held against another; empty: it can."""
    common = [task for task in base.outcomes if task in arm.outcomes]
    for each in (arm, base):
        if not {each.outcomes[task].solved for task in common} <= {0.0, 1.0}:
            return f"{each.label} has several samples of a task, and none of them is its answer"
    return "" if common else "they have no task in common"


def _duel(arm: Arm, base: Arm, budget: int | None, axis: Axis) -> Duel | None:
    """Return how an arm stands against another; None: costs are not known."""
    common = [task for task in base.outcomes if task in arm.outcomes]
    own = _verdicts(arm, common, budget, axis)
    others = _verdicts(base, common, budget, axis)
    if own is None or others is None:
        return None
    found = changes(own, others)
    return Duel(
        label=arm.label,
        baseline=base.label,
        budget=budget,
        tasks=found.common,
        gained=found.gained,
        lost=found.lost,
        p=mcnemar(len(found.gained), len(found.lost)),
        difference=(len(found.gained) - len(found.lost)) / found.common,
        interval=paired_interval([*own.values()], [*others.values()]),
    )


def _verdicts(
    arm: Arm, tasks: Sequence[str], budget: int | None, axis: Axis
) -> dict[str, float] | None:
    """Return 1 or 0 for each task; None: not all are known."""
    found = {task: _solved(arm.outcomes[task], budget, axis) for task in tasks}
    known = {task: value for task, value in found.items() if value is not None}
    return known if len(known) == len(found) else None


def _solved(outcome: Outcome, budget: int | None, axis: Axis) -> float | None:
    return outcome.solved if budget is None else outcome.solved_within(budget, axis)


def _end_costs(arm: Arm, axis: Axis) -> list[int]:
    found = [
        outcome.cost(answer, axis)
        for outcome in arm.outcomes.values()
        for answer in outcome.answers[-1:]
    ]
    return [cost for cost in found if cost is not None]


def _named(label: str, arms: Sequence[Arm]) -> Arm:
    exact = [arm for arm in arms if arm.label == label]
    found = exact or [arm for arm in arms if arm.label.startswith(label)]
    if not found:
        raise UnknownNameError("arm", label, [arm.label for arm in arms])
    if len(found) > 1:
        labels = ", ".join(arm.label for arm in found)
        raise UsageError(f"several arms begin with {label!r}: {labels}; give the whole label")
    if not found[0].outcomes:
        raise UsageError(
            f"{found[0].label!r} has finished no task, so nothing can be held against it; wait for "
            "its first results, or choose another baseline"
        )
    return found[0]


def _usual(arms: Sequence[Arm]) -> list[Arm]:
    """Return the usual baseline, or the arms that might be."""
    called = [arm for arm in arms if arm.label == BAR]
    return called or [arm for arm in arms if arm.method == BAR]


def _in_order(tasks: Sequence[str], chosen: Collection[str]) -> tuple[str, ...]:
    return tuple(task for task in tasks if task in chosen)


def _notes(rows: Sequence[Row], axis: Axis) -> list[str]:
    notes = [
        f"unfinished: {row.arm.label} has {row.done} of {row.tasks} tasks"
        for row in rows
        if row.done < row.tasks
    ]
    if notes:
        notes.append(
            "shares are of the tasks that an arm finished; --common takes those that all finished"
        )
    for row in rows:
        early = [
            answer
            for outcome in row.arm.outcomes.values()
            for answer in outcome.answers
            if axis.cost(answer.counts) is None
        ]
        label = row.arm.label
        if early and row.shares[0] is not None:
            notes.append(
                f"{label}: {len(early)} answers count at the end of their task: what was spent "
                f"before them ({axis.value}) was not written down"
            )
        notes += _files_left_out(row.arm)
        if row.sandbox_errors:
            notes.append(f"{label}: the sandbox failed on {row.sandbox_errors}: not solved")
    notes += [f"settings differ: {line}" for line in differing_settings([r.arm for r in rows])]
    return notes


def _files_left_out(arm: Arm) -> list[str]:
    notes = []
    if arm.skipped:
        notes.append(f"{arm.label}: {arm.skipped} tasks left out, which others solved")
    if arm.unreadable:
        notes.append(f"{arm.label}: {len(arm.unreadable)} unreadable result files left out")
    return notes
