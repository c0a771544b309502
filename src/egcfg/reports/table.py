"""Reports for a terminal: rich renderables, nothing is printed here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen
from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from egcfg.reports.aggregate import (
    PricesOf,
    Report,
    Row,
    aggregate,
    natural_order,
    no_prices,
    unit_price,
)
from egcfg.runs.store import FileState, Record
from egcfg.usage.budget import count_text

__all__ = ["AccuracyTable", "report_view", "run_view", "task_table"]

UNKNOWN = "-"
COLUMNS = (
    *("gamma", "solved", "skipped", "unreadable", "sandbox error", "acc %", "RSR"),
    *("tok in", "cached", "tok out", "requests", "passes", "seconds", "cost"),
)
EXPENDABLE = ("passes", "cached", "requests", "tok in", "seconds", "tok out", "cost")
"""Columns that give way on a narrow console, the first one first."""
UNBOUND = 10_000
"""Columns of a console that anything fits."""
MOST_UNITS_SHOWN = 50
"""Rows of a table that one can still read."""


def run_view(records: Sequence[Record], prices_of: PricesOf = no_prices) -> RenderableType:
    """Return the final tables of a run: every unit where they are few, then the numbers."""
    reports = aggregate(records, prices_of)
    views = [part for report in reports for part in (Text(), report_view(report))]
    if len(records) <= MOST_UNITS_SHOWN:
        return Group(task_table(records, prices_of), *views)
    note = (
        f"{len(records)} units are too many for a table of each; "
        "the same command with --task ID, or with --start and --end, shows some"
    )
    return Group(Text(note), *views)


def report_view(report: Report) -> RenderableType:
    """Return the numbers of one model on one data set, with what they mean."""
    parts: list[RenderableType] = [AccuracyTable(report)]
    cost = report.cost
    union = (
        f"union of {len(report.rows)} rows {report.union_solved}/{report.tasks} = "
        f"{report.union_accuracy:.1f} %, RSR {_number(report.union_rsr, 2)}, for "
        f"{_count(cost.output_tokens)} tokens out{_time_taken(report)}"
        f"{'' if cost.price is None else f' at a cost of {count_text(cost.price)}'}: an oracle "
        "over the tests picks, so this is not the accuracy of any single run"
    )
    parts += [Text(union), Text(report.tests.words())]
    if any(row.skipped for row in report.rows):
        note = "rows with skipped tasks were tried on what others had not solved: no accuracy"
        parts.append(Text(note))
    if any(row.sandbox_errors for row in report.rows):
        note = (
            "the sandbox failed on some programs, which count as not passed: their result files "
            "say why; delete these to try again"
        )
        parts.append(Text(note))
    if unfinished := sum(row.unfinished for row in report.rows):
        note = (
            f"{unfinished} answer{'' if unfinished == 1 else 's'} cut short by the end of a "
            "budget: what was reached up to then"
        )
        parts.append(Text(note))
    if cost.concurrency > 1:
        note = (
            f"up to {cost.concurrency} units shared their time: what one took is told by "
            "passes, requests and tokens"
        )
        parts.append(Text(note))
    if near_ties := sum(row.near_ties for row in report.rows):
        note = (
            f"{near_ties} near-tie{'' if near_ties == 1 else 's'}: tokens chosen by so little that "
            "rounding may turn the choice where other units are in flight"
        )
        parts.append(Text(note))
    for path, problem in report.broken.items():
        parts.append(Text(f"broken: {path}: {problem}", style="red"))
    return Group(*parts)


@frozen
class AccuracyTable:
    """One line per configuration and gamma, as wide as the console lets it be.

    Where that is too narrow, columns of what the rows cost give way to the configurations' names;
    a line below says which.

    Attributes:
        report: the numbers.
    """

    report: Report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table and, if need be, the line below it."""
        unbound = options.update(width=UNBOUND)
        names, dropped = _columns(self.report.rows), []
        for expendable in EXPENDABLE:
            table = _accuracy_table(self.report, names)
            if console.measure(table, options=unbound).maximum <= options.max_width:
                break
            if expendable in names:
                names.remove(expendable)
                dropped.append(expendable)
        yield _accuracy_table(self.report, names)
        if dropped:
            left_out = ", ".join(dropped)
            yield Text(f"too narrow for: {left_out} (--format csv has every column)")


def _columns(rows: Sequence[Row]) -> list[str]:
    requests = any(row.cost.requests for row in rows)
    unused = {
        *(() if any(row.skipped for row in rows) else ("skipped",)),
        *(() if any(row.unreadable for row in rows) else ("unreadable",)),
        *(() if any(row.sandbox_errors for row in rows) else ("sandbox error",)),
        # What a local model keeps is no matter of money.
        *(("passes",) if requests else ("requests", "cached")),
        *(() if any(row.cost.price is not None for row in rows) else ("cost",)),
        *(("seconds",) if any(row.cost.concurrency > 1 for row in rows) else ()),
    }
    return [name for name in COLUMNS if name not in unused]


def _accuracy_table(report: Report, names: Sequence[str]) -> Table:
    # Names as text of its own: rich would read brackets in a plain string as markup.
    table = _table(Text(f"{report.dataset} · {report.model}"))
    table.add_column("config", overflow="fold")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for row in report.rows:
        cells = _cells(row)
        table.add_row(Text(row.config), *(cells[name] for name in names))
    return table


def _cells(row: Row) -> dict[str, str]:
    missing = "" if row.done == row.tasks else f" of {row.tasks}"
    cost = row.cost
    return {
        "gamma": _gamma(row.gamma),
        "solved": f"{row.solved}/{row.done}{missing}",
        "skipped": str(row.skipped),
        "unreadable": str(row.unreadable),
        "sandbox error": str(row.sandbox_errors),
        "acc %": _number(row.accuracy, 1),
        "RSR": _number(row.rsr, 2),
        "tok in": _count(cost.input_tokens),
        "cached": _count(cost.cached_tokens),
        "tok out": _count(cost.output_tokens),
        "requests": _count(cost.requests),
        "passes": _count(cost.forward_passes),
        "seconds": _seconds(cost.seconds),
        "cost": UNKNOWN if cost.price is None else count_text(cost.price),
    }


def task_table(records: Iterable[Record], prices_of: PricesOf = no_prices) -> Table:
    """Return one line per unit, task by task; the cost where prices are known, the seconds where
    units did not share them."""
    ordered = sorted(records, key=lambda r: (natural_order(r.task_id), r.config, r.gamma or 0.0))
    configs = len({record.config for record in ordered}) > 1
    table = _table()
    table.add_column("task", overflow="fold")
    if configs:
        table.add_column("config", overflow="fold")
    prices = {record.model: prices_of(record.model) for record in ordered}
    priced = any(prices.values())
    found = [r.result.stats for r in ordered if r.result is not None]
    timed = all(stats is None or stats.concurrency == 1 for stats in found)
    times, costs = ["seconds"] if timed else [], ["cost"] if priced else []
    for name in ("gamma", "passed", "tokens", *times, *costs):
        table.add_column(name, justify="right", no_wrap=True)
    for record in ordered:
        price = unit_price(record, prices[record.model])
        stats = record.result.stats if record.result is not None else None
        table.add_row(
            Text(record.task_id),
            *([Text(record.config)] if configs else []),
            _gamma(record.gamma),
            _verdict(record),
            UNKNOWN if stats is None else str(stats.output_tokens),
            *([UNKNOWN if stats is None else _seconds(stats.seconds)] if timed else []),
            *([UNKNOWN if price is None else count_text(price)] if priced else []),
        )
    return table


def _time_taken(report: Report) -> str:
    """Return how long the units took: summed up, or on the clock where they shared their time."""
    if report.cost.concurrency == 1:
        return f" in {_seconds(report.cost.seconds)} s"
    if not report.wall_seconds:
        return ""
    judged = sum(row.done for row in report.rows)
    pace = 60 * judged / report.wall_seconds
    return f" in {_seconds(report.wall_seconds)} s on the clock ({pace:.3g} units a minute)"


def _table(title: Text | None = None) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
        show_edge=False,
    )


def _verdict(record: Record) -> Text:
    if record.state is not FileState.DONE or record.result is None:
        return Text(record.state.value, style="red")
    if record.result.global_cached:
        return Text("skipped")
    if record.result.has_sandbox_error:
        return Text("sandbox error", style="red")
    return Text("yes", style="green") if record.result.passed else Text("no")


def _gamma(gamma: float | None) -> str:
    return "-" if gamma is None else f"{gamma:g}"


def _number(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def _count(value: int) -> str:
    """Return a count in at most five characters: exact below ten thousand."""
    if value < 10_000:
        return str(value)
    for unit in "kM":
        value_in_unit = value / (1e3 if unit == "k" else 1e6)
        if value_in_unit < 999.5:
            return f"{value_in_unit:.3g}{unit}"
    return f"{value / 1e9:.3g}G"
