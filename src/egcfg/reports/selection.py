"""Which rows a table shows, in which order, and what they are united by."""

from __future__ import annotations

import enum
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatch
from typing import Any

from attrs import evolve, frozen

from egcfg.reports.aggregate import Report, Row, Union, natural_order

__all__ = ["By", "Group", "Grouping", "Order", "grouped", "ordered", "select"]


class By(enum.StrEnum):
    """What rows may be united by."""

    CONFIG = "config"
    MODEL = "model"
    GAMMA = "gamma"
    METHOD = "method"


class Order(enum.StrEnum):
    """What rows may be sorted by: names and gammas upwards, all else from the most downwards."""

    NAME = "name"
    GAMMA = "gamma"
    SOLVED = "solved"
    ACCURACY = "accuracy"
    RSR = "rsr"
    TOKENS = "tokens"
    SECONDS = "seconds"
    COST = "cost"


@frozen
class Group:
    """Rows that have something in common.

    Attributes:
        name: what it is.
        gamma: guidance strength, where that is it.
        union: the rows.
    """

    name: str
    gamma: float | None
    union: Union


@frozen
class Grouping:
    """The groups of one table.

    Attributes:
        dataset: name of the data set's folder.
        model: name of the model's folder; empty where each group is a model.
        by: what is in common in a group.
        groups: the groups.
    """

    dataset: str
    model: str
    by: By
    groups: tuple[Group, ...]


def select(
    reports: Sequence[Report], model: str | None = None, gammas: Collection[float] = ()
) -> list[Report]:
    """Return the reports of some models, with the rows of some gammas.

    What counts as all tasks stays that of all rows: a selection makes no part a whole.

    Args:
        reports: all of them.
        model: a part of the models' names, or a pattern with ``*``; None: any.
        gammas: guidance strengths; none: any.
    """
    wanted = None if model is None else (model if "*" in model else f"*{model}*").lower()
    chosen = [each for each in reports if wanted is None or fnmatch(each.model.lower(), wanted)]
    if gammas:
        chosen = [
            evolve(each, rows=tuple(row for row in each.rows if row.gamma in gammas))
            for each in chosen
        ]
    return [each for each in chosen if each.rows]


def grouped(reports: Sequence[Report], by: By) -> list[Grouping]:
    """Return the rows of reports, united."""
    if by is By.MODEL:
        of_dataset: dict[str, list[Group]] = defaultdict(list)
        for report in reports:
            of_dataset[report.dataset].append(Group(report.model, None, report.union))
        return [Grouping(name, "", by, tuple(groups)) for name, groups in of_dataset.items()]
    groupings = []
    for report in reports:
        rows: dict[tuple[str, float | None], list[Row]] = defaultdict(list)
        for row in report.rows:
            name, gamma = row.config, None
            if by is By.GAMMA:
                name, gamma = "-" if row.gamma is None else f"{row.gamma:g}", row.gamma
            elif by is By.METHOD:
                name = row.method
            rows[name, gamma].append(row)
        groups = [
            Group(name, gamma, Union(tuple(found), len(report.tasks)))
            for (name, gamma), found in rows.items()
        ]
        groupings.append(Grouping(report.dataset, report.model, by, tuple(groups)))
    return groupings


def ordered(
    rows: Sequence[Any], order: Order | None = None, top: int | None = None
) -> tuple[Any, ...]:
    """Return rows, or groups, in an order; what is unknown comes last.

    Args:
        rows: all of one kind.
        order: what to sort by; None: as they are, or by accuracy where only the first are shown.
        top: how many to return; None: all.
    """
    if order is None and top is not None:
        order = Order.ACCURACY
    if order is not None:
        rows = sorted(rows, key=lambda row: _key(row, order))
    return tuple(rows[:top])


def _key(row: Row | Group, order: Order) -> Any:
    if order is Order.NAME:
        return natural_order(row.config if isinstance(row, Row) else row.name)
    if order is Order.GAMMA:
        return -math.inf if row.gamma is None else row.gamma
    value = _NUMBERS[order](row.union if isinstance(row, Group) else row)
    return math.inf if value is None else -value


def _accuracy(of: Row | Union) -> float | None:
    if isinstance(of, Row):
        return of.accuracy
    return None if of.best is None else of.best.accuracy


def _rsr(of: Row | Union) -> float | None:
    if isinstance(of, Row):
        return of.rsr
    return max((row.rsr for row in of.rows if row.rsr is not None), default=None)


_NUMBERS: dict[Order, Callable[[Row | Union], float | None]] = {
    Order.SOLVED: lambda of: of.solved,
    Order.ACCURACY: _accuracy,
    Order.RSR: _rsr,
    Order.TOKENS: lambda of: of.cost.output_tokens,
    Order.SECONDS: lambda of: of.cost.seconds,
    Order.COST: lambda of: of.cost.price,
}
