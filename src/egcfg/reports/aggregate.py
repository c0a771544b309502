"""Numbers from results: pure functions of the records that `egcfg.runs.store.scan` finds.

Three numbers are kept apart. *Single-run accuracy* belongs to one configuration at one gamma, tried
once per task. The *union* counts a task as solved if any of the units tried solved it: an oracle
over the tests picks, so it is no accuracy that a user without tests would see, and it grows with
every unit tried. The *cost* is what all that took.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from attrs import evolve, field, frozen

from egcfg.errors import ConfigError
from egcfg.interfaces.backend import Usage
from egcfg.runs.config_string import SignalConfig
from egcfg.runs.store import FileState, Record
from egcfg.usage.prices import Prices

__all__ = [
    "Cost",
    "PricesOf",
    "Report",
    "Row",
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


@frozen(kw_only=True)
class Cost:
    """What a number of units took.

    Attributes:
        input_tokens: prompt tokens sent or processed.
        output_tokens: tokens generated, chosen or sampled.
        seconds: wall time, summed over units; above a `concurrency` of 1, units shared it.
        forward_passes: passes through a local model.
        forward_tokens: tokens run through a local model.
        requests: requests sent to an endpoint.
        cached_tokens: prompt tokens that a cache answered, of all that were sent or processed.
        concurrency: units that a process had in flight at most.
        price: what the tokens cost; None: there are no prices for the model.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    forward_passes: int = 0
    forward_tokens: int = 0
    requests: int = 0
    cached_tokens: int = 0
    concurrency: int = 1
    price: float | None = None

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            seconds=self.seconds + other.seconds,
            forward_passes=self.forward_passes + other.forward_passes,
            forward_tokens=self.forward_tokens + other.forward_tokens,
            requests=self.requests + other.requests,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            concurrency=max(self.concurrency, other.concurrency),
            price=_sum_of_known(self.price, other.price),
        )


@frozen(kw_only=True)
class TestCounts:
    """How many tests a task has, from the task with the fewest to the one with the most.

    Attributes:
        seen: tests that the decoder saw.
        scored: tests that decided.
        both: tests that were seen and decided.
        unknown: tasks of which nobody wrote down what was seen.
    """

    __test__ = False  # not a pytest class

    seen: tuple[int, int] = (0, 0)
    scored: tuple[int, int] = (0, 0)
    both: tuple[int, int] = (0, 0)
    unknown: int = 0

    @classmethod
    def of(cls, tasks: Iterable[tuple[Collection[str] | None, Collection[str]]]) -> TestCounts:
        """Return the counts of tasks, given the names of what was seen (if known) and scored."""
        known, unknown = [], 0
        for seen, scored in tasks:
            if seen is None:
                unknown += 1
            else:
                known.append((len(set(seen)), len(set(scored)), len({*seen} & {*scored})))
        if not known:
            return cls(unknown=unknown)
        seen_counts, scored_counts, both_counts = zip(*known, strict=True)
        return cls(
            seen=(min(seen_counts), max(seen_counts)),
            scored=(min(scored_counts), max(scored_counts)),
            both=(min(both_counts), max(both_counts)),
            unknown=unknown,
        )

    def words(self, seen: str = "seen") -> str:
        """Say it in words; `seen` is what the decoder did with them."""
        if self.scored == (0, 0):
            return "tests seen: not written down"
        text = (
            f"tests per task: {_range(self.seen)} {seen}, {_range(self.scored)} scored, "
            f"of which {_range(self.both)} {seen}"
        )
        return f"{text}; {self.unknown} results do not say" if self.unknown else text


def _range(counts: tuple[int, int]) -> str:
    least, most = counts
    return str(least) if least == most else f"{least}-{most}"


@frozen(kw_only=True)
class Row:
    """One configuration at one gamma.

    Attributes:
        config: its config string.
        gamma: guidance strength; None where a whole method is the row.
        tasks: tasks that any row of the same model and data set has.
        verdicts: whether each task solved in this very row passed.
        skipped: tasks skipped because another unit had solved them.
        unreadable: files that are empty (left by a crash) or broken.
        sandbox_errors: tasks on which the sandbox failed; they are judged, and not passed.
        near_ties: choices of the judged units so close that rounding might have turned them.
        cost: what the judged units took.
        rsr: relative success rate against the gamma 0 row of the same prompt, over the tasks that
            both have; None where there is no such row, or either one skipped tasks.
    """

    config: str
    gamma: float | None
    tasks: int
    verdicts: Mapping[str, bool] = field(repr=False)
    skipped: int = 0
    unreadable: int = 0
    sandbox_errors: int = 0
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
        """Single-run accuracy in percent of the tasks done; None where it is not defined.

        A row that skipped what others had solved was tried on the hard tasks only.
        """
        return None if self.skipped or not self.done else 100 * self.solved / self.done


@frozen(kw_only=True)
class Report:
    """All rows of one model on one data set.

    Attributes:
        dataset: name of the data set's folder.
        model: name of the model's folder.
        tasks: tasks that any row has.
        rows: by configuration, then gamma.
        union_solved: tasks that any unit solved (an oracle over tests picks).
        union_rsr: relative success rate of the union against the best gamma 0 row, over the tasks
            that this row has; None where there is none.
        tests: how many tests of a task the decoder saw, and how many decided.
        wall_seconds: time in which at least one of the units was at work, those of several
            processes counted once; None where a file does not say when.
        broken: files that could not be understood, with what is wrong.
    """

    dataset: str
    model: str
    tasks: int
    rows: tuple[Row, ...]
    union_solved: int
    union_rsr: float | None
    tests: TestCounts
    wall_seconds: float | None = None
    broken: Mapping[str, str] = field(factory=dict)

    @property
    def union_accuracy(self) -> float:
        """The union in percent of the tasks."""
        return 100 * self.union_solved / self.tasks

    @property
    def cost(self) -> Cost:
        """What all rows took together: the price of the union."""
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


def aggregate(records: Iterable[Record], prices_of: PricesOf = no_prices) -> list[Report]:
    """Return one report per data set and model, in order of their names.

    Args:
        records: what to report on.
        prices_of: what tokens of a model cost, by the name of its folder.
    """
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.dataset, record.model].append(record)
    return [_report(*names, groups[names], prices_of(names[1])) for names in sorted(groups)]


def unit_price(record: Record, prices: Prices | None) -> float | None:
    """Return what one unit cost; None where that cannot be known."""
    stats = record.result.stats if record.result is not None else None
    if stats is None or prices is None:
        return None
    # Files of older tools count tokens in all, not by stage.
    counted = evolve(
        stats.total_usage, input_tokens=stats.input_tokens, output_tokens=stats.output_tokens
    )
    return prices.cost(counted)


def natural_order(text: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that puts task 9 before task 10."""
    return tuple(
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)
    )


def _report(dataset: str, model: str, records: Sequence[Record], prices: Prices | None) -> Report:
    tasks = {record.task_id for record in records}
    groups: dict[tuple[str, float | None], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.config, record.gamma].append(record)
    rows = [
        _row(config, gamma, groups[config, gamma], len(tasks), prices)
        for config, gamma in sorted(groups, key=_order_of_rows)
    ]
    judged = [
        r.result for r in records if r.result and not r.result.global_cached and r.result.tests
    ]
    solved = {r.task_id for r in records if r.result is not None and r.result.passed}
    bases = [row for row in rows if row.gamma == 0 and row.accuracy is not None]
    best = max(bases, key=lambda row: row.accuracy or 0.0, default=None)
    return Report(
        dataset=dataset,
        model=model,
        tasks=len(tasks),
        rows=tuple(evolve(row, rsr=_paired_rsr(row.verdicts, base_of(row, rows))) for row in rows),
        union_solved=len(solved),
        union_rsr=_paired_rsr({task: task in solved for task in tasks}, best),
        tests=TestCounts.of((r.tests_seen, r.tests) for r in judged),
        wall_seconds=_wall_seconds(records),
        broken={str(r.path): r.problem for r in records if r.problem is not None},
    )


def _order_of_rows(key: tuple[str, float | None]) -> tuple[Any, float]:
    config, gamma = key
    return natural_order(config), -math.inf if gamma is None else gamma


def _row(
    config: str, gamma: float | None, records: Sequence[Record], tasks: int, prices: Prices | None
) -> Row:
    verdicts: dict[str, bool] = {}
    skipped = unreadable = sandbox_errors = near_ties = 0
    cost = Cost()
    for record in sorted(records, key=lambda record: natural_order(record.task_id)):
        if record.state is not FileState.DONE or record.result is None:
            unreadable += 1
        elif record.result.global_cached:
            skipped += 1
        else:
            verdicts[record.task_id] = record.result.passed
            sandbox_errors += record.result.has_sandbox_error
            cost += _cost(record, prices)
            near_ties += record.result.stats.near_ties if record.result.stats is not None else 0
    return Row(
        config=config,
        gamma=gamma,
        tasks=tasks,
        verdicts=verdicts,
        skipped=skipped,
        unreadable=unreadable,
        sandbox_errors=sandbox_errors,
        near_ties=near_ties,
        cost=cost,
    )


def _cost(record: Record, prices: Prices | None) -> Cost:
    stats = record.result.stats if record.result is not None else None
    if stats is None:
        return Cost()
    usage: Usage = stats.total_usage
    return Cost(
        input_tokens=stats.input_tokens,
        output_tokens=stats.output_tokens,
        seconds=stats.seconds,
        forward_passes=usage.forward_passes,
        forward_tokens=usage.forward_tokens,
        requests=usage.requests,
        cached_tokens=usage.cached_tokens,
        concurrency=stats.concurrency,
        price=unit_price(record, prices),
    )


def _wall_seconds(records: Iterable[Record]) -> float | None:
    """Return how long at least one of the units was at work."""
    found = [r.result.stats for r in records if r.result is not None and r.result.stats is not None]
    try:
        spans = sorted(
            (datetime.fromisoformat(s.start_time or ""), datetime.fromisoformat(s.end_time or ""))
            for s in found
        )
        seconds, until = 0.0, None
        for start, end in spans:
            if until is None or end > until:
                begin = start if until is None else max(start, until)
                seconds, until = seconds + (end - begin).total_seconds(), end
    except (ValueError, TypeError):  # no times, or some with a time zone and some without
        return None
    return seconds if spans else None


def _sum_of_known(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other


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
