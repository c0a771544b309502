"""What the page shows of a whole folder: the rows, their numbers, and every task in every row."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen
from markupsafe import Markup

from egcfg.errors import RunError
from egcfg.reports.aggregate import PricesOf, Report, Row, aggregate, base_of, natural_order
from egcfg.reports.page import charts
from egcfg.reports.statistics import (
    Comparison,
    answers,
    compare,
    expected_unions,
    solved_at_tokens,
    wilson_interval,
)
from egcfg.runs.results import Result, TestVerdict
from egcfg.runs.store import FileState, Record, read_record, result_files

__all__ = ["Overview", "RowView", "Table", "TaskRow", "Unit", "overview"]

MOST_UNITS = 100_000
"""Result files read, about 200 MB of memory; of the others the page says how many there are."""

MOST_CELLS = 60_000
"""Verdicts of tasks in rows shown one by one."""

MOST_ROWS_DRAWN = 40

Progress = Callable[[int, int], None]
"""Is told how many files are read, of how many."""


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
    against: Comparison | None

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
        files: result files that were read.
        more: result files beyond `MOST_UNITS`.
        gone: files that could not be opened when their turn came.
    """

    folder: str
    tables: tuple[Table, ...]
    units: tuple[Unit, ...] = field(repr=False)
    files: int
    more: int
    gone: tuple[str, ...]


def overview(folder: Path, prices_of: PricesOf, progress: Progress | None = None) -> Overview:
    """Read a results folder, or any part of one.

    Other processes may write to it meanwhile: what is there when its turn comes is read.

    Args:
        folder: where to look.
        prices_of: what tokens of a model cost, by the name of its folder.
        progress: is told how far the work is.

    Raises:
        RunError: `folder` does not exist or holds no result file.
    """
    paths = result_files(folder)
    records, gone = _read(paths[:MOST_UNITS], progress)
    if not records:
        raise RunError(f"{folder} holds no result files (task_id=....json)")
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.dataset, record.model].append(record)
    units: list[Unit] = []
    reports = aggregate(records, prices_of)
    share = MOST_CELLS // len(reports)
    tables = [
        _table(number, report, groups[report.dataset, report.model], units, share)
        for number, report in enumerate(reports, start=1)
    ]
    return Overview(
        folder=folder.resolve().name,
        tables=tuple(tables),
        units=tuple(units),
        files=len(records),
        more=max(0, len(paths) - MOST_UNITS),
        gone=tuple(gone),
    )


def _read(paths: Sequence[Path], progress: Progress | None) -> tuple[list[Record], list[str]]:
    records: dict[tuple[Path, str, float | None], Record] = {}
    gone: list[str] = []
    slim = _Slimmer()
    for number, path in enumerate(paths):
        if progress is not None:
            progress(number, len(paths))
        try:
            record = slim(read_record(path))
        except RunError as error:
            gone.append(str(error))
            continue
        key = (path.parent, record.task_id, record.gamma)
        # Two spellings of one gamma: the one that tells more.
        if key not in records or records[key].state is not FileState.DONE:
            records[key] = record
    return list(records.values()), gone


class _Slimmer:
    """Makes records without their texts, which share what they have in common: of a large folder
    that is most."""

    def __init__(self) -> None:
        self._shared: dict[Any, Any] = {}

    def __call__(self, record: Record) -> Record:
        result = record.result
        if result is None:
            return record
        stats = result.stats
        kinds = tuple((name, test.passed, test.status) for name, test in result.tests.items())
        slim = Result(
            tests=self._share(kinds, lambda: _verdicts(kinds)),
            passed=result.passed,
            accuracy=result.accuracy,
            stats=None if stats is None else attrs.evolve(stats, usage={"all": stats.total_usage}),
            global_cached=result.global_cached,
            attempts=tuple(
                {"tokens": tokens, "passed": passed} for tokens, passed in answers(result)
            ),
            tests_seen=self._share(result.tests_seen, lambda: result.tests_seen),
            record=result.record,
        )
        names = {
            name: sys.intern(getattr(record, name))
            for name in ("dataset", "model", "config", "task_id")
        }
        return attrs.evolve(record, result=slim, **names)

    def _share(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]


def _verdicts(kinds: Iterable[tuple[str, bool, str | None]]) -> dict[str, TestVerdict]:
    return {name: TestVerdict(passed=passed, status=status) for name, passed, status in kinds}


def _table(
    number: int, report: Report, records: Sequence[Record], units: list[Unit], most_cells: int
) -> Table:
    rows = tuple(_row(n, row, report.rows) for n, row in enumerate(report.rows, start=1))
    whole = [view.row for view in rows if view.row.accuracy is not None]
    union_tasks, unions = expected_unions(whole)
    by_row: dict[tuple[str, float | None], list[Record]] = defaultdict(list)
    for record in records:
        by_row[record.config, record.gamma].append(record)
    return Table(
        number=number,
        report=report,
        rows=rows,
        tasks=_tasks(rows, records, units, most_cells),
        union_tasks=union_tasks,
        unions=tuple(100 * share for share in unions),
        drawn=_charts(rows, by_row, unions),
    )


def _row(number: int, row: Row, rows: Sequence[Row]) -> RowView:
    interval = None
    if row.accuracy is not None:
        low, high = wilson_interval(row.solved, row.done)
        interval = (100 * low, 100 * high)
    base = base_of(row, rows)
    return RowView(
        number=number,
        row=row,
        interval=interval,
        against=None if base is None else compare(row, base),
    )


def _tasks(
    rows: Sequence[RowView], records: Sequence[Record], units: list[Unit], most_cells: int
) -> tuple[TaskRow, ...]:
    place = {(view.row.config, view.row.gamma): n for n, view in enumerate(rows)}
    cells: dict[str, list[Unit | None]] = {}
    tasks = sorted({record.task_id for record in records}, key=natural_order)
    shown = set(tasks[: max(1, most_cells // len(rows))])
    ordered = sorted(records, key=lambda each: natural_order(each.task_id))
    for record in ordered:
        if record.task_id not in shown:
            continue
        in_rows = cells.setdefault(record.task_id, [None] * len(rows))
        at = place[record.config, record.gamma]
        unit = Unit(
            number=len(units),
            path=record.path,
            task_id=record.task_id,
            title=rows[at].title,
            state=_state(record),
            recorded=record.result is not None and record.result.record is not None,
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


def _state(record: Record) -> str:
    if record.result is None:
        return "unreadable"
    if record.result.global_cached:
        return "skipped"
    return "passed" if record.result.passed else "failed"


def _charts(
    rows: Sequence[RowView],
    records: Mapping[tuple[str, float | None], Iterable[Record]],
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
        points = solved_at_tokens(records[view.row.config, view.row.gamma])
        series[f"{view.number}: {view.title}"] = [
            (float(tokens), 100 * solved / view.row.done) for tokens, solved in points
        ]
    if series:
        drawn["tokens"] = charts.curves(
            series, "tokens spent on each task, prompt and answers", "solved tasks against tokens"
        )
    if len(unions) > 1:
        drawn["union"] = charts.unions([100 * share for share in unions])
    return drawn
