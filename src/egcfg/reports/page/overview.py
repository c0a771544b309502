"""What the page shows of a whole folder: the rows, their numbers, and every task in every row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import field, frozen
from markupsafe import Markup

from egcfg.comparison.arms import Arm, Axis, Outcome
from egcfg.comparison.comparison import curve
from egcfg.comparison.sources import Tried
from egcfg.comparison.statistics import mean_interval
from egcfg.reports.aggregate import PricesOf, Report, Row, aggregate, base_of, natural_order
from egcfg.reports.page import charts
from egcfg.reports.rows import ResultRow, RowState
from egcfg.reports.statistics import Changes, changes, expected_unions
from egcfg.runs.folder import FolderReader, LeftOut

__all__ = ["Overview", "RowView", "Table", "TaskRow", "Unit", "overview"]

MOST_CELLS = 60_000
"""Verdicts of tasks in rows shown one by one."""

MOST_ROWS_DRAWN = 40


@frozen(kw_only=True)
class Unit:
    """A result file that the page leads to.

    Attributes:
        number: of the unit on the page, from 0.
        path: its file.
        task_id: its task.
        title: the configuration and gamma.
        state: ``passed``, ``failed``, ``skipped`` or ``unreadable``.
        recorded: whether its record is kept.
    """

    number: int
    path: Path
    task_id: str
    title: str
    state: str
    recorded: bool


@frozen(kw_only=True)
class RowView:
    """A row and what is made of it.

    Attributes:
        number: of the row in its table, from 1.
        row: its numbers.
        interval: ends of the accuracy's 95 % interval, in percent; None where it has no accuracy.
        against: what it gained and lost against gamma 0; None where there is nothing to compare.
    """

    number: int
    row: Row
    interval: tuple[float, float] | None
    against: Changes | None

    @property
    def title(self) -> str:
        """The configuration and gamma."""
        gamma = self.row.gamma
        return self.row.config if gamma is None else f"{self.row.config}, gamma {gamma:g}"


@frozen(kw_only=True)
class TaskRow:
    """A task in every row.

    Attributes:
        task_id: the task.
        cells: its unit in each row; None where there is none.
        kind: ``gained``, ``lost``, ``both`` or ``same`` against gamma 0.
        solved: rows that solved it.
    """

    task_id: str
    cells: tuple[Unit | None, ...]
    kind: str
    solved: int


@frozen(kw_only=True)
class Table:
    """One model on one data set.

    Attributes:
        number: of the table on the page, from 1.
        report: the numbers.
        rows: its rows.
        tasks: its tasks, as many as are shown.
        union_tasks: tasks that every row has.
        unions: the expected union of 1, 2, ... rows, in percent of these.
        drawn: the charts.
    """

    number: int
    report: Report
    rows: tuple[RowView, ...]
    tasks: tuple[TaskRow, ...]
    union_tasks: int
    unions: tuple[float, ...]
    drawn: Mapping[str, Markup]


@frozen(kw_only=True)
class Overview:
    """A folder, read.

    Attributes:
        folder: its name.
        tables: by data set and model.
        units: every unit that has a cell, by its number.
        results: how many units there are.
        left_out: files that look like results and are none.
    """

    folder: str
    tables: tuple[Table, ...]
    units: tuple[Unit, ...] = field(repr=False)
    results: int
    left_out: tuple[LeftOut, ...]


def overview(
    folder: Path, prices_of: PricesOf, on_read: Callable[[int], None] = lambda _: None
) -> Overview:
    """Read a results folder, or any part of one.

    Args:
        folder: where to look.
        prices_of: what tokens of a model cost, by the name of its folder.
        on_read: is told how many files were read so far.

    Raises:
        RunError: `folder` does not exist or holds no result file.
    """
    found = FolderReader(folder, Tried.of, on_read).look()
    groups: dict[tuple[str, str], list[Tried]] = defaultdict(list)
    for each in found.kept:
        groups[each.row.dataset, each.row.model].append(each)
    units: list[Unit] = []
    reports = aggregate([each.row for each in found.kept], prices_of)
    share = MOST_CELLS // len(reports)
    tables = [
        _table(number, report, groups[report.dataset, report.model], units, share)
        for number, report in enumerate(reports, start=1)
    ]
    return Overview(
        folder=folder.resolve().name,
        tables=tuple(tables),
        units=tuple(units),
        results=len(found.kept),
        left_out=tuple(found.left_out),
    )


def _table(
    number: int, report: Report, found: Sequence[Tried], units: list[Unit], most_cells: int
) -> Table:
    rows = tuple(_row(n, row, report.rows) for n, row in enumerate(report.rows, start=1))
    whole = [view.row for view in rows if view.row.accuracy is not None]
    union_tasks, unions = expected_unions(whole)
    by_row: dict[tuple[str, float | None], dict[str, Outcome]] = defaultdict(dict)
    for each in found:
        if each.outcome is not None:
            by_row[each.row.config, each.row.gamma][each.row.task_id] = each.outcome
    return Table(
        number=number,
        report=report,
        rows=rows,
        tasks=_tasks(rows, found, units, most_cells),
        union_tasks=union_tasks,
        unions=tuple(100 * share for share in unions),
        drawn=_charts(rows, by_row, unions),
    )


def _row(number: int, row: Row, rows: Sequence[Row]) -> RowView:
    interval = None
    if row.accuracy is not None:
        low, high = mean_interval([float(passed) for passed in row.verdicts.values()])
        interval = (100 * low, 100 * high)
    base = base_of(row, rows)
    return RowView(
        number=number,
        row=row,
        interval=interval,
        against=None if base is None else changes(row.verdicts, base.verdicts),
    )


def _tasks(
    rows: Sequence[RowView], found: Sequence[Tried], units: list[Unit], most_cells: int
) -> tuple[TaskRow, ...]:
    place = {(view.row.config, view.row.gamma): n for n, view in enumerate(rows)}
    cells: dict[str, list[Unit | None]] = {}
    tasks = sorted({each.row.task_id for each in found}, key=natural_order)
    shown = set(tasks[: max(1, most_cells // len(rows))])
    ordered = sorted(found, key=lambda each: natural_order(each.row.task_id))
    for each in ordered:
        row = each.row
        if row.task_id not in shown:
            continue
        in_rows = cells.setdefault(row.task_id, [None] * len(rows))
        at = place[row.config, row.gamma]
        unit = Unit(
            number=len(units),
            path=Path(row.path),
            task_id=row.task_id,
            title=rows[at].title,
            state=_state(row),
            recorded=each.recorded,
        )
        units.append(unit)
        in_rows[at] = unit
    gained = {task for view in rows if view.against for task in view.against.gained}
    lost = {task for view in rows if view.against for task in view.against.lost}
    kinds = {(True, True): "both", (True, False): "gained", (False, True): "lost"}
    return tuple(
        TaskRow(
            task_id=task,
            cells=tuple(in_rows),
            kind=kinds.get((task in gained, task in lost), "same"),
            solved=sum(unit is not None and unit.state == "passed" for unit in in_rows),
        )
        for task, in_rows in cells.items()
    )


def _state(row: ResultRow) -> str:
    if row.judged:
        return "passed" if row.passed else "failed"
    return "skipped" if row.state is RowState.SKIPPED else "unreadable"


def _charts(
    rows: Sequence[RowView],
    outcomes_of: Mapping[tuple[str, float | None], Mapping[str, Outcome]],
    unions: Sequence[float],
) -> dict[str, Markup]:
    drawn: dict[str, Markup] = {}
    best = sorted(
        (view for view in rows if view.row.accuracy is not None),
        key=lambda view: view.row.accuracy or 0.0,
        reverse=True,
    )
    bars = [
        (f"{view.number}: {view.title}", view.row.accuracy or 0.0, *(view.interval or (0.0, 0.0)))
        for view in best[:MOST_ROWS_DRAWN]
    ]
    if bars:
        drawn["accuracy"] = charts.intervals(bars)
    series = {}
    for view in sorted(best[: charts.SERIES], key=lambda view: view.number):
        outcomes = outcomes_of[view.row.config, view.row.gamma]
        points = curve(Arm(label="", outcomes=outcomes), Axis.ALL_TOKENS)
        if points and len(outcomes) == view.row.done:  # else nobody knows when
            series[f"{view.number}: {view.title}"] = [
                (float(tokens), 100 * solved / view.row.done)
                for tokens, solved in [(0, 0.0), *points]
            ]
    if series:
        drawn["tokens"] = charts.curves(
            series, "tokens spent on each task, prompt and answers", "solved tasks against tokens"
        )
    if len(unions) > 1:
        drawn["union"] = charts.unions([100 * share for share in unions])
    return drawn
