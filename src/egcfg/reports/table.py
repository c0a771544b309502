"""Reports for a terminal: rich renderables, nothing is printed here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from egcfg.reports.aggregate import Report, aggregate, natural_order
from egcfg.runs.store import FileState, Record

__all__ = ["accuracy_table", "report_view", "run_view", "task_table"]

UNKNOWN = "-"


def run_view(records: Sequence[Record]) -> RenderableType:
    """Return the final tables of a run: every unit, then the numbers."""
    reports = [part for report in aggregate(records) for part in (Text(), report_view(report))]
    return Group(task_table(records), *reports)


def report_view(report: Report) -> RenderableType:
    """Return the numbers of one model on one data set, with what they mean."""
    parts: list[RenderableType] = [accuracy_table(report)]
    cost = report.cost
    union = (
        f"union of {len(report.rows)} rows {report.union_solved}/{report.tasks} = "
        f"{report.union_accuracy:.1f} %, RSR {_number(report.union_rsr, 2)}, for "
        f"{_count(cost.output_tokens)} tokens out in {_seconds(cost.seconds)} s: an oracle over "
        "the tests picks, so this is not the accuracy of any single run"
    )
    parts.append(Text(union))
    if any(row.skipped for row in report.rows):
        note = "rows with skipped tasks were tried on what others had not solved: no accuracy"
        parts.append(Text(note))
    for path, problem in report.broken.items():
        parts.append(Text(f"broken: {path}: {problem}", style="red"))
    return Group(*parts)


def accuracy_table(report: Report) -> Table:
    """Return one line per configuration and gamma; it fits 80 columns."""
    # Names as text of its own: rich would read brackets in a plain string as markup.
    table = _table(Text(f"{report.dataset} · {report.model}"))
    table.add_column("config", overflow="fold")
    requests = any(row.cost.requests for row in report.rows)
    skipped = any(row.skipped for row in report.rows)
    unreadable = any(row.unreadable for row in report.rows)
    for name in (
        "gamma",
        "solved",
        *(["skipped"] if skipped else []),
        *(["unreadable"] if unreadable else []),
        "acc %",
        "RSR",
        "tok in",
        "tok out",
        "requests" if requests else "passes",
        "seconds",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for row in report.rows:
        missing = "" if row.done == row.tasks else f" of {row.tasks}"
        table.add_row(
            Text(row.config),
            f"{row.gamma:g}",
            f"{row.solved}/{row.done}{missing}",
            *([str(row.skipped)] if skipped else []),
            *([str(row.unreadable)] if unreadable else []),
            _number(row.accuracy, 1),
            _number(row.rsr, 2),
            _count(row.cost.input_tokens),
            _count(row.cost.output_tokens),
            _count(row.cost.requests if requests else row.cost.forward_passes),
            _seconds(row.cost.seconds),
        )
    return table


def task_table(records: Iterable[Record]) -> Table:
    """Return one line per unit, task by task."""
    ordered = sorted(records, key=lambda r: (natural_order(r.task_id), r.config, r.gamma))
    configs = len({record.config for record in ordered}) > 1
    table = _table()
    table.add_column("task", overflow="fold")
    if configs:
        table.add_column("config", overflow="fold")
    for name in ("gamma", "passed", "tokens", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for record in ordered:
        stats = record.result.stats if record.result is not None else None
        table.add_row(
            Text(record.task_id),
            *([Text(record.config)] if configs else []),
            f"{record.gamma:g}",
            _verdict(record),
            UNKNOWN if stats is None else str(stats.output_tokens),
            UNKNOWN if stats is None else _seconds(stats.seconds),
        )
    return table


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
    return Text("yes", style="green") if record.result.passed else Text("no")


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
