"""Reports for a terminal: rich renderables, nothing is printed here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from attrs import frozen
from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.console import Group as Lines
from rich.table import Table
from rich.text import Text

from egcfg.reports.aggregate import (
    Cost,
    PricesOf,
    Report,
    Row,
    aggregate,
    natural_order,
    no_prices,
    unit_price,
)
from egcfg.reports.progress import Progress
from egcfg.reports.rows import ResultRow, RowState
from egcfg.reports.selection import Group, Grouping
from egcfg.runs.folder import LeftOut
from egcfg.usage.budget import count_text

__all__ = [
    "AccuracyTable",
    "grouping_view",
    "left_out_view",
    "progress_view",
    "report_view",
    "run_view",
    "short_count",
    "task_table",
]

UNKNOWN = "-"
EXPENDABLE = ("passes", "cached", "requests", "tok in", "seconds", "tok out", "cost")
"""Columns that give way on a narrow console, the first one first."""
NAMED_AT_MOST = 3
"""Files that are named of those that are left out for one reason."""
UNBOUND = 10_000
"""Columns of a console that anything fits."""
MOST_UNITS_SHOWN = 50
"""Rows of a table that one can still read."""


def run_view(rows: Sequence[ResultRow], prices_of: PricesOf = no_prices) -> RenderableType:
    """Return the final tables of a run: every unit where they are few, then the numbers."""
    reports = aggregate(rows, prices_of)
    views = [part for report in reports for part in (Text(), report_view(report))]
    if len(rows) <= MOST_UNITS_SHOWN:
        return Lines(task_table(rows, prices_of), *views)
    note = (
        f"{len(rows)} units are too many for a table of each; "
        "the same command with --task ID, or with --start and --end, shows some"
    )
    return Lines(Text(note), *views)


def report_view(report: Report, shown: Sequence[Row] | None = None) -> RenderableType:
    """Return the numbers of one model on one data set, with what they mean.

    Args:
        report: the numbers.
        shown: the rows of the table; None: all. The lines below it are of all rows in any case.
    """
    rows = report.rows if shown is None else shown
    parts: list[RenderableType] = [AccuracyTable(f"{report.dataset} · {report.model}", rows)]
    if len(rows) < len(report.rows):
        parts.append(Text(f"{len(rows)} of {len(report.rows)} rows are shown"))
    parts += [Text(_union_text(report)), Text(report.tests.words())]
    parts += map(Text, _notes(report.rows))
    for path, problem in report.broken.items():
        parts += [Text(f"broken: {problem}:", style="red"), _path(path)]
    return Lines(*parts)


def grouping_view(grouping: Grouping, shown: Sequence[Group] | None = None) -> RenderableType:
    """Return the table of rows that are united, with what it means."""
    groups = grouping.groups if shown is None else shown
    title = " · ".join(filter(None, (grouping.dataset, grouping.model)))
    rows = [row for group in grouping.groups for row in group.union.rows]
    parts: list[RenderableType] = [AccuracyTable(title, groups, str(grouping.by))]
    if len(groups) < len(grouping.groups):
        parts.append(Text(f"{len(groups)} of {len(grouping.groups)} rows are shown"))
    note = (
        "best %: single-run accuracy of the best configuration and gamma; any: solved by any of "
        "them, so an oracle over the tests picks"
    )
    return Lines(*parts, Text(note), *map(Text, _notes(rows)))


def left_out_view(left_out: Sequence[LeftOut]) -> RenderableType:
    """Return how many files were left out, why, and the first of them."""
    reasons = dict.fromkeys(each.why for each in left_out)
    parts: list[RenderableType] = []
    for why in reasons:
        paths = [each.path for each in left_out if each.why == why]
        files = "1 file" if len(paths) == 1 else f"{len(paths)} files"
        more = len(paths) - NAMED_AT_MOST
        parts.append(Text(f"left out: {files} ({why}):", style="red"))
        parts += [_path(path) for path in paths[:NAMED_AT_MOST]]
        parts += [Text(f"  and {more} more (--format json names all)")] if more > 0 else []
    return Lines(*parts)


def progress_view(progress: Progress) -> RenderableType:
    """Return how far the runs are; nothing where all is done, or nothing tells."""
    parts: list[RenderableType] = []
    if progress.left or progress.running or progress.stale:
        said = [f"{progress.running} running", f"{len(progress.stale)} stale"]
        if progress.planned is not None:
            said = [f"{progress.done} of {progress.planned} units done", *said]
            said.append(f"{progress.left} left")
        if progress.per_minute is not None:
            said.append(f"{_pace(progress.per_minute)} a minute")
        if progress.seconds_left is not None:
            said.append(f"about {timedelta(seconds=round(progress.seconds_left))} to go")
        elif not progress.running and progress.left:
            said.append("nothing works on them: run the same command again to go on")
        parts.append(Text(", ".join(said)))
    if progress.stale:
        parts.append(Text("stale: the process is gone or silent, the next run takes over:"))
        parts += [Text(f"  {name}", no_wrap=True, overflow="ignore") for name in progress.stale]
    return Lines(*parts)


@frozen
class AccuracyTable:
    """One line per row, or per group of rows, as wide as the console lets it be.

    Where that is too narrow, columns of what they cost give way to the names; a line below says
    which. No name is broken: one that is too long even so is cut, and ends in "…".

    Attributes:
        title: above the table.
        rows: configurations and gammas, or groups of these.
        name: heading of the names.
    """

    title: str
    rows: Sequence[Row | Group]
    name: str = "config"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table and, if need be, the line below it."""
        unbound = options.update(width=UNBOUND)
        lines = [_cells(row) for row in self.rows]
        names, dropped = _columns(self.rows, lines), []
        for expendable in EXPENDABLE:
            table = self._table(names, lines)
            if console.measure(table, options=unbound).maximum <= options.max_width:
                break
            if expendable in names:
                names.remove(expendable)
                dropped.append(expendable)
        yield Text(self.title, style="bold")  # rich breaks a table's own at the table's width
        yield self._table(names, lines)
        if dropped:
            left_out = ", ".join(dropped)
            yield Text(f"too narrow for: {left_out} (--format csv has every column)")

    def _table(self, names: Sequence[str], lines: Sequence[dict[str, str]]) -> Table:
        # Names as text of its own: rich would read brackets in a plain string as markup.
        table = _table()
        table.add_column(self.name, overflow="ellipsis")
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
        for row, cells in zip(self.rows, lines, strict=True):
            label = row.config if isinstance(row, Row) else row.name
            table.add_row(Text(label), *(cells[name] for name in names))
        return table


def _columns(rows: Sequence[Row | Group], lines: Sequence[dict[str, str]]) -> list[str]:
    """Return the columns that tell something."""
    costs = [_cost_of(row) for row in rows]
    requests = any(cost.requests for cost in costs)
    unused = {
        # What a local model keeps is no matter of money.
        *(("passes",) if requests else ("requests", "cached")),
        *(() if any(cost.price is not None for cost in costs) else ("cost",)),
        *(("seconds",) if any(cost.concurrency > 1 for cost in costs) else ()),
        *(
            name
            for name in ("skipped", "unreadable", "sandbox error")
            if not any(cells.get(name, "0") != "0" for cells in lines)
        ),
    }
    return [name for name in lines[0] if name not in unused] if lines else []


def _cost_of(row: Row | Group) -> Cost:
    return row.cost if isinstance(row, Row) else row.union.cost


def _cells(row: Row | Group) -> dict[str, str]:
    """Return what a line says, by its column's heading."""
    if isinstance(row, Row):
        missing = "" if row.done == row.tasks else f" of {row.tasks}"
        cells = {
            "gamma": _gamma(row.gamma),
            "solved": f"{row.solved}/{row.done}{missing}",
            "skipped": str(len(row.skipped)),
            "unreadable": str(row.unreadable),
            "sandbox error": str(row.sandbox_errors),
            "acc %": _number(row.accuracy, 1),
            "RSR": _number(row.rsr, 2),
        }
    else:
        union = row.union
        missing = "" if union.tried == union.tasks else f" of {union.tasks}"
        cells = {
            "rows": str(len(union.rows)),
            "best %": _number(None if union.best is None else union.best.accuracy, 1),
            "any": f"{union.solved}/{union.tried}{missing}",
            "any %": _number(union.share, 1),
        }
    cost = _cost_of(row)
    more = "+" if cost.unknown else ""
    amounts = {
        "tok in": short_count(cost.input_tokens),
        "cached": short_count(cost.cached_tokens),
        "tok out": short_count(cost.output_tokens),
        "requests": short_count(cost.requests),
        "passes": short_count(cost.forward_passes),
        "seconds": UNKNOWN if cost.seconds is None else _seconds(cost.seconds),
        "cost": UNKNOWN if cost.price is None else count_text(cost.price),
    }
    return cells | {
        name: text if text == UNKNOWN else text + more for name, text in amounts.items()
    }


def _union_text(report: Report) -> str:
    union, rows = report.union, len(report.rows)
    share = "" if union.share is None else f" = {union.share:.1f} %"
    said = f"union of {rows} row{'' if rows == 1 else 's'} {union.solved}/{union.tasks}{share}"
    cost = union.cost
    spent = "an unknown cost"
    if cost.output_tokens is not None:
        price = "" if cost.price is None else f" at a cost of {count_text(cost.price)}"
        least = "at least " if cost.unknown else ""
        spent = f"{least}{short_count(cost.output_tokens)} tokens out{_time_taken(report)}{price}"
    return (
        f"{said}, RSR {_number(report.union_rsr, 2)}, for {spent}: an oracle over the tests picks, "
        "so this is not the accuracy of any single run"
    )


def _notes(rows: Sequence[Row]) -> Iterable[str]:
    """Say what the numbers of rows leave open."""
    if any(0 < row.done < row.tasks for row in rows):
        yield (
            "rows that were tried on a part of the tasks have no accuracy: what others had solved "
            "before, or what they have yet to come to, is not among them"
        )
    if unknown := sum(row.cost.unknown for row in rows):
        results = "1 result does" if unknown == 1 else f"{unknown} results do"
        yield f"{results} not say what it took: it is missing in the sums that end in +"
    if any(row.sandbox_errors for row in rows):
        yield (
            "the sandbox failed on some programs, which count as not passed: their result files "
            "say why; delete these to try again"
        )
    if unfinished := sum(row.unfinished for row in rows):
        yield (
            f"{unfinished} answer{'' if unfinished == 1 else 's'} cut short by the end of a "
            "budget: what was reached up to then"
        )
    if (concurrency := max((row.cost.concurrency for row in rows), default=1)) > 1:
        yield (
            f"up to {concurrency} units shared their time: what one took is told by "
            "passes, requests and tokens"
        )
    if near_ties := sum(row.near_ties for row in rows):
        yield (
            f"{near_ties} near-tie{'' if near_ties == 1 else 's'}: tokens chosen by so little that "
            "rounding may turn the choice where other units are in flight"
        )


def task_table(rows: Iterable[ResultRow], prices_of: PricesOf = no_prices) -> Table:
    """Return one line per unit, task by task; the cost where prices are known, the seconds where
    units did not share them."""
    ordered = sorted(rows, key=lambda r: (natural_order(r.task_id), r.config, r.gamma or 0.0))
    configs = len({row.config for row in ordered}) > 1
    table = _table()
    table.add_column("task", overflow="ellipsis")
    if configs:
        table.add_column("config", overflow="ellipsis")
    prices = {row.model: prices_of(row.model) for row in ordered}
    priced = any(prices.values())
    timed = all(row.concurrency == 1 for row in ordered)
    times, costs = ["seconds"] if timed else [], ["cost"] if priced else []
    for name in ("gamma", "passed", "tokens", *times, *costs):
        table.add_column(name, justify="right", no_wrap=True)
    for row in ordered:
        price = unit_price(row, prices[row.model])
        table.add_row(
            Text(row.task_id),
            *([Text(row.config)] if configs else []),
            _gamma(row.gamma),
            _verdict(row),
            UNKNOWN if row.output_tokens is None else str(row.output_tokens),
            *([UNKNOWN if row.seconds is None else _seconds(row.seconds)] if timed else []),
            *([UNKNOWN if price is None else count_text(price)] if priced else []),
        )
    return table


def _time_taken(report: Report) -> str:
    """Return how long the units took: summed up, or on the clock where they shared their time."""
    cost = report.union.cost
    if cost.concurrency == 1:
        return "" if cost.seconds is None else f" in {_seconds(cost.seconds)} s"
    if not report.wall_seconds:
        return ""
    judged = sum(row.done for row in report.rows)
    pace = 60 * judged / report.wall_seconds
    return f" in {_seconds(report.wall_seconds)} s on the clock ({_pace(pace)} units a minute)"


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)


def _path(path: str) -> Text:
    """Return a path on a line of its own, which is never broken."""
    return Text(f"  {path}", no_wrap=True, overflow="ignore")


def _verdict(row: ResultRow) -> Text:
    if row.state in (RowState.EMPTY, RowState.BROKEN):
        return Text(row.state.value, style="red")
    if row.state is RowState.SKIPPED:
        return Text("skipped")
    if row.sandbox_error:
        return Text("sandbox error", style="red")
    return Text("yes", style="green") if row.passed else Text("no")


def _gamma(gamma: float | None) -> str:
    return "-" if gamma is None else f"{gamma:g}"


def _number(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def _pace(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def short_count(value: int | None) -> str:
    """Return a count in at most five characters: exact below ten thousand."""
    if value is None:
        return UNKNOWN
    if value < 10_000:
        return str(value)
    for unit in "kM":
        value_in_unit = value / (1e3 if unit == "k" else 1e6)
        if value_in_unit < 999.5:
            return f"{value_in_unit:.3g}{unit}"
    return f"{value / 1e9:.3g}G"
