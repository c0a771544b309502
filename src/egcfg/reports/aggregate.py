"""Numbers from results: pure functions of the rows that `egcfg.reports.rows` holds.

Three numbers are kept apart. *Single-run accuracy* belongs to one configuration at one gamma, tried
once per task. The *union* counts a task as solved if any of the units tried solved it: an oracle
over the tests picks, so it is no accuracy that a user without tests would see, and it grows with
every unit tried. The *cost* is what all that took, as far as it is known.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

from attrs import evolve, field, frozen

from egcfg.errors import ConfigError
from egcfg.interfaces.usage import Usage
from egcfg.reports.rows import ResultRow, RowState
from egcfg.runs.config_string import SignalConfig
from egcfg.usage.prices import Prices

__all__ = [
    "Cost",
    "PricesOf",
    "Report",
    "Row",
    "TestCounts",
    "aggregate",
    "base_of",
    "natural_order",
    "no_prices",
    "relative_success_rate",
    "unit_price",
]

PricesOf: TypeAlias = Callable[[str], Prices | None]
"""Gives what tokens of a model cost, by the name of its folder; None: nobody said."""


def no_prices(_model: str) -> Prices | None:
    """Know no prices."""
    return None


SUMMED = (
    *("input_tokens", "output_tokens", "cached_tokens", "requests"),
    *("forward_passes", "forward_tokens", "seconds"),
)


@frozen(kw_only=True)
class Cost:
    """What a number of units took; None where no unit tells.

    Attributes:
        input_tokens: prompt tokens sent or processed.
        output_tokens: tokens generated, chosen or sampled.
        cached_tokens: prompt tokens that a cache answered, of all that were sent or processed.
        requests: requests sent to an endpoint.
        forward_passes: passes through a local model.
        forward_tokens: tokens run through a local model.
        seconds: wall time, summed over units; above a `concurrency` of 1, units shared it.
        concurrency: units that a process had in flight at most.
        price: what the tokens cost; None also where there are no prices for the model.
        unknown: units that do not tell: what is known is less than what was spent.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    requests: int | None = None
    forward_passes: int | None = None
    forward_tokens: int | None = None
    seconds: float | None = None
    concurrency: int = 1
    price: float | None = None
    unknown: int = 0

    @classmethod
    def of(cls, rows: Sequence[ResultRow], prices: Prices | None = None) -> Cost:
        """Return what units took together."""
        known = [row for row in rows if row.output_tokens is not None]
        sums = {name: _sum([getattr(row, name) for row in known]) for name in SUMMED}
        price = None
        if prices is not None and known:
            tokens = {n: sums[n] or 0 for n in ("input_tokens", "cached_tokens", "output_tokens")}
            price = prices.cost(Usage(**tokens))
        return cls(
            **sums,
            concurrency=max((row.concurrency for row in known), default=1),
            price=price,
            unknown=len(rows) - len(known),
        )

    def __add__(self, other: Cost) -> Cost:
        sums = {n: _sum([getattr(self, n), getattr(other, n)]) for n in (*SUMMED, "price")}
        return Cost(
            **sums,
            concurrency=max(self.concurrency, other.concurrency),
            unknown=self.unknown + other.unknown,
        )


@frozen(kw_only=True)
class TestCounts:
    """How many tests a task has, from the task with the fewest to the one with the most.

    Attributes:
        seen: tests that the decoder saw; None: nobody wrote it down of any task.
        scored: tests that decided; None likewise.
        both: tests that were seen and decided; None likewise.
        unknown: tasks of which nobody wrote down what was seen.
    """

    __test__ = False  # not a pytest class

    seen: tuple[int, int] | None = None
    scored: tuple[int, int] | None = None
    both: tuple[int, int] | None = None
    unknown: int = 0

    @classmethod
    def of(cls, tasks: Iterable[tuple[int | None, int | None, int | None]]) -> TestCounts:
        """Return the counts of tasks.

        Args:
            tasks: how many tests were seen, decided, and both; each None where it is not known.
        """
        told = [*tasks]
        return cls(
            seen=_ends(seen for seen, _, _ in told),
            scored=_ends(scored for _, scored, _ in told),
            both=_ends(both for _, _, both in told),
            unknown=sum(seen is None for seen, _, _ in told),
        )

    @property
    def short(self) -> str:
        """The counts as ``seen/scored``; ``?`` is what nobody wrote down."""
        some = " or ?" if self.seen and self.unknown else ""
        return f"{_range(self.seen)}{some}/{_range(self.scored)}"

    def words(self, seen: str = "seen") -> str:
        """Say it in words; `seen` is what the decoder did with them."""
        if self.seen is None:
            scored = f", {_range(self.scored)} scored" if self.scored else ""
            return f"tests seen: not written down{scored}"
        text = (
            f"tests per task: {_range(self.seen)} {seen}, {_range(self.scored)} scored, "
            f"of which {_range(self.both)} {seen}"
        )
        return f"{text}; {self.unknown} results do not say" if self.unknown else text


def _ends(counts: Iterable[int | None]) -> tuple[int, int] | None:
    known = [count for count in counts if count is not None]
    return (min(known), max(known)) if known else None


def _range(counts: tuple[int, int] | None) -> str:
    if counts is None:
        return "?"
    least, most = counts
    return str(least) if least == most else f"{least}-{most}"


@frozen(kw_only=True)
class Row:
    """One configuration at one gamma.

    Attributes:
        config: its config string.
        gamma: guidance strength; None where a whole method is the row.
        method: the method.
        tasks: tasks that any row of the same model and data set has.
        verdicts: whether each task solved in this very row passed.
        skipped: tasks skipped because another unit had solved them.
        unreadable: files that are empty (left by a crash) or broken.
        sandbox_errors: tasks on which the sandbox failed; they are judged, and not passed.
        unfinished: tasks judged by an answer that the end of a budget cut short.
        near_ties: choices of the judged units so close that rounding might have turned them.
        cost: what the judged units took.
        rsr: relative success rate against the gamma 0 row of the same prompt, over the tasks that
            both have; None where there is no such row, or one of the two has no accuracy.
    """

    config: str
    gamma: float | None
    method: str
    tasks: int
    verdicts: Mapping[str, bool] = field(repr=False)
    skipped: frozenset[str] = field(default=frozenset(), repr=False)
    unreadable: int = 0
    sandbox_errors: int = 0
    unfinished: int = 0
    near_ties: int = 0
    cost: Cost = field(factory=Cost)
    rsr: float | None = None

    @property
    def done(self) -> int:
        """Tasks judged in this row."""
        return len(self.verdicts)

    @property
    def solved(self) -> int:
        """Tasks that passed."""
        return sum(self.verdicts.values())

    @property
    def accuracy(self) -> float | None:
        """Single-run accuracy in percent; None where the row was tried on a part of the tasks.

        Which part that is says more than the share of it that passes: a row that skipped what
        others had solved, or that a cascade came to last, was tried on the hard tasks only.
        """
        return None if self.done < self.tasks or not self.done else 100 * self.solved / self.done

    @property
    def solved_tasks(self) -> set[str]:
        """Tasks that passed, or were skipped as solved by another unit."""
        return {task for task, passed in self.verdicts.items() if passed} | self.skipped


@frozen(kw_only=True)
class Report:
    """Rows of one model on one data set.

    Attributes:
        dataset: name of the data set's folder.
        model: name of the model's folder.
        tasks: ids of the tasks that any row has.
        rows: by configuration, then gamma.
        tests: how many tests of a task the decoder saw, and how many decided.
        wall_seconds: time in which at least one of the units was at work, those of several
            processes counted once; None where a file does not say when.
        broken: files that could not be understood, with what is wrong.
    """

    dataset: str
    model: str
    tasks: frozenset[str] = field(repr=False)
    rows: tuple[Row, ...]
    tests: TestCounts
    wall_seconds: float | None = None
    broken: Mapping[str, str] = field(factory=dict)

    @property
    def union(self) -> Union:
        """What any of the rows solved."""
        return Union(self.rows, len(self.tasks))

    @property
    def union_rsr(self) -> float | None:
        """Relative success rate of the union against the best gamma 0 row, over its tasks."""
        bases = [row for row in self.rows if row.gamma == 0 and row.accuracy is not None]
        best = max(bases, key=lambda row: row.accuracy or 0.0, default=None)
        solved = self.union.solved_tasks
        return _paired_rsr({task: task in solved for task in self.tasks}, best)


@frozen
class Union:
    """Rows together: an oracle over the tests picks, so this is the accuracy of no single run.

    Attributes:
        rows: what is united.
        tasks: how many there are in all.
    """

    rows: tuple[Row, ...]
    tasks: int

    @cached_property
    def solved_tasks(self) -> set[str]:
        """Tasks that any row solved."""
        return set[str]().union(*(row.solved_tasks for row in self.rows))

    @property
    def solved(self) -> int:
        """How many these are."""
        return len(self.solved_tasks)

    @property
    def tried(self) -> int:
        """Tasks that any row was judged on, or skipped as solved."""
        return len(set[str]().union(*(row.verdicts.keys() | row.skipped for row in self.rows)))

    @property
    def share(self) -> float | None:
        """Tasks solved in percent; None where a part of the tasks was tried."""
        return None if self.tried < self.tasks else 100 * self.solved / self.tasks

    @property
    def best(self) -> Row | None:
        """The row of the best accuracy; None where none has one."""
        rows = [row for row in self.rows if row.accuracy is not None]
        return max(rows, key=lambda row: row.accuracy or 0.0, default=None)

    @property
    def cost(self) -> Cost:
        """What all rows took together."""
        return sum((row.cost for row in self.rows), Cost())


def relative_success_rate(accuracy: float, base: float) -> float | None:
    """Return the share of what was left to solve that was solved (RSR, in percent).

    Args:
        accuracy: in percent.
        base: the baseline's accuracy in percent.

    Returns:
        100 where everything is solved, 0 where nothing changed, negative where it got worse;
        None for a baseline of 100, which leaves nothing to solve.
    """
    return None if base >= 100 else 100 * (accuracy - base) / (100 - base)


def aggregate(rows: Iterable[ResultRow], prices_of: PricesOf = no_prices) -> list[Report]:
    """Return one report per data set and model, in order of their names.

    Args:
        rows: what to report on.
        prices_of: what tokens of a model cost, by the name of its folder.
    """
    groups: dict[tuple[str, str], list[ResultRow]] = defaultdict(list)
    for row in rows:
        groups[row.dataset, row.model].append(row)
    return [_report(*names, groups[names], prices_of(names[1])) for names in sorted(groups)]


def unit_price(row: ResultRow, prices: Prices | None) -> float | None:
    """Return what one unit cost; None where that cannot be known."""
    return Cost.of([row], prices).price


def natural_order(text: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that puts task 9 before task 10."""
    return tuple(
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)
    )


def _report(dataset: str, model: str, found: Sequence[ResultRow], prices: Prices | None) -> Report:
    tasks = frozenset(row.task_id for row in found)
    groups: dict[tuple[str, float | None], list[ResultRow]] = defaultdict(list)
    for row in found:
        groups[row.config, row.gamma].append(row)
    rows = [_row(groups[key], len(tasks), prices) for key in sorted(groups, key=_order_of_rows)]
    judged = [row for row in found if row.judged and row.tests]
    return Report(
        dataset=dataset,
        model=model,
        tasks=tasks,
        rows=tuple(evolve(row, rsr=_paired_rsr(row.verdicts, base_of(row, rows))) for row in rows),
        tests=TestCounts.of(map(_test_counts, judged)),
        wall_seconds=_wall_seconds(found),
        broken={row.path: row.error or "" for row in found if row.state is RowState.BROKEN},
    )


def _order_of_rows(key: tuple[str, float | None]) -> tuple[Any, float]:
    config, gamma = key
    return natural_order(config), -math.inf if gamma is None else gamma


def _row(rows: Sequence[ResultRow], tasks: int, prices: Prices | None) -> Row:
    judged = [row for row in rows if row.judged]
    states = Counter(row.state for row in rows)
    return Row(
        config=rows[0].config,
        gamma=rows[0].gamma,
        method=rows[0].method,
        tasks=tasks,
        verdicts={row.task_id: row.passed for row in judged},
        skipped=frozenset(row.task_id for row in rows if row.state is RowState.SKIPPED),
        unreadable=states[RowState.EMPTY] + states[RowState.BROKEN],
        sandbox_errors=sum(row.sandbox_error for row in judged),
        unfinished=states[RowState.UNFINISHED],
        near_ties=sum(row.near_ties or 0 for row in judged),
        cost=Cost.of(judged, prices),
    )


def _test_counts(row: ResultRow) -> tuple[int | None, int, int | None]:
    return row.tests_seen, row.tests, row.tests_seen_scored


def _wall_seconds(rows: Iterable[ResultRow]) -> float | None:
    """Return how long at least one of the units was at work."""
    spans = [(row.started, row.ended) for row in rows if row.output_tokens is not None]
    known = sorted((start, end) for start, end in spans if start is not None and end is not None)
    if not known or len(known) < len(spans):
        return None
    seconds, until = 0.0, known[0][0]
    for start, end in known:
        seconds += max(0.0, end - max(start, until))
        until = max(until, end)
    return seconds


def _sum(values: Iterable[Any]) -> Any:
    """Return the sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def base_of(row: Row, rows: Iterable[Row]) -> Row | None:
    """Return what a guided row is compared with: the same configuration's row at gamma 0, or else
    one of the same prompt; None where there is none, or either one skipped tasks."""
    if row.gamma == 0 or row.accuracy is None:
        return None
    bases = [each for each in rows if each.gamma == 0 and each.accuracy is not None]
    same = [base for base in bases if base.config == row.config]
    prompt = _prompt(row.config)
    alike = [base for base in bases if prompt is not None and _prompt(base.config) == prompt]
    return next(iter(same + alike), None)


def _prompt(config: str) -> str | None:
    try:
        return SignalConfig.parse(config.partition(",")[0]).prompt
    except ConfigError:
        return None  # a folder of another tool, with a name of its own


def _paired_rsr(verdicts: Mapping[str, bool], base: Row | None) -> float | None:
    common = [] if base is None else [task for task in verdicts if task in base.verdicts]
    if base is None or not common:
        return None
    accuracy = 100 * sum(verdicts[task] for task in common) / len(common)
    base_accuracy = 100 * sum(base.verdicts[task] for task in common) / len(common)
    return relative_success_rate(accuracy, base_accuracy)
