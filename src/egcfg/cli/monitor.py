"""``egcfg monitor``: the numbers of a results folder."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import define, evolve, field

from egcfg.cli.logs import log_options
from egcfg.cli.terminal import console, printable, printable_json, printable_line
from egcfg.config import load_config
from egcfg.errors import UsageError

if TYPE_CHECKING:
    from egcfg.reports.aggregate import PricesOf, Report
    from egcfg.reports.rows import ResultRow, Results
    from egcfg.runs.folder import FolderReader
    from egcfg.usage.prices import Prices, PriceTable

__all__ = ["harmless", "monitor_command", "prices_of", "prices_option"]

SECONDS_BETWEEN_LOOKS = 2.0
MOST_UNITS = 2000
"""Lines of a table of units that a terminal takes in a second or two."""
SHARE_OF_TIME = 0.1
"""At most so much of the time is spent looking."""


prices_option = click.option(
    "--prices",
    metavar="PRICES",
    help="what a million tokens cost, such as input=0.2,cached_input=0.1,output=0.6  "
    "[as egcfg.toml or EGCFG_PRICES says]",
)


def _numbers(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise click.BadParameter("give numbers, such as 0,0.5,-0.1") from error


@click.command("monitor")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--by",
    type=click.Choice(["config", "model", "gamma", "method"]),
    help="Unite rows: a configuration with all its gammas, a model, a gamma, a method.",
)
@click.option("--model", metavar="NAME", help="Only models with this in their name; * is anything.")
@click.option("--gammas", metavar="X,...", callback=_numbers, default="", help="Only these gammas.")
@click.option(
    "--sort",
    type=click.Choice(["name", "gamma", "solved", "accuracy", "rsr", "tokens", "seconds", "cost"]),
    help="Sort the rows of each table: names and gammas upwards, else the largest number first.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only the first N rows of each table; by accuracy unless --sort says otherwise.",
)
@click.option("--tasks", is_flag=True, help="One line per unit: each task of each row.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "csv", "parquet"]), default="text"
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write there; parquet (with --tasks) needs it.",
)
@click.option(
    "--watch", is_flag=True, help="Look again every two seconds or more, until Ctrl-C; text only."
)
@prices_option
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="read the prices from this file  [egcfg.toml of the working directory, if there]",
)
@log_options
def monitor_command(
    folder: Path,
    form: str,
    out: Path | None,
    watch: bool,
    prices: str | None,
    config_file: Path | None,
    **shown: Any,
) -> None:
    """Print the table of a results folder, or of any part of one.

    Accuracy is of single runs: one configuration, one gamma, all tasks. Rows that were tried on a
    part of the tasks show counts. The union counts what any of them solved, so an oracle over the
    tests picks. RSR is the share of what the unguided model left unsolved. The cost stands beside
    them where prices are known. While runs are at work, a line says what is running, stale (its
    process is gone) and left, and how long that may take.
    """
    from egcfg.reports.rows import ResultRow
    from egcfg.runs.folder import FolderReader

    if form == "parquet" and not (shown["tasks"] and out):
        raise UsageError("--format parquet writes one line per unit: add --tasks and -o FILE")
    if watch and (form != "text" or out):
        raise UsageError("--watch shows text: leave out --format and -o")
    given = {} if prices is None else {"prices": prices}
    table = load_config(given, file=config_file).config.prices
    view = _View(FolderReader(folder, ResultRow.of), prices_of(table), **shown)
    while True:
        started = time.monotonic()
        if form == "parquet":
            assert out is not None  # as was seen above
            view.write_parquet(out)
            return
        text = view.text() if form == "text" else view.data(form)
        if watch and sys.stdout.isatty():
            click.clear()
        if out is not None:
            _write(out, text)
        else:
            click.echo(text, nl=False)
        if not watch:
            return
        sys.stdout.flush()
        took = time.monotonic() - started
        time.sleep(max(SECONDS_BETWEEN_LOOKS, took / SHARE_OF_TIME))


@define
class _View:
    """What is shown of a folder.

    Attributes:
        reader: reads the folder.
        prices: of its models.
        by, model, gammas, sort, top, tasks: the options.
    """

    reader: FolderReader[ResultRow]
    prices: PricesOf
    by: str | None = field(kw_only=True)
    model: str | None = field(kw_only=True)
    gammas: tuple[float, ...] = field(kw_only=True)
    sort: str | None = field(kw_only=True)
    top: int | None = field(kw_only=True)
    tasks: bool = field(kw_only=True)

    def text(self) -> str:
        """Return the tables for a person."""
        from egcfg.reports.progress import progress_of
        from egcfg.reports.selection import By, grouped
        from egcfg.reports.table import (
            grouping_view,
            left_out_view,
            progress_view,
            report_view,
            task_table,
        )

        found = harmless(self._look())
        reports = [
            evolve(each, broken={printable_line(p): why for p, why in each.broken.items()})
            for each in self._reports(found)
        ]
        units = _units_by_report(found)
        screen = console(sys.stdout)
        with screen.capture() as capture:
            if self.tasks:
                chosen = self._units(found)
                if len(chosen) > MOST_UNITS:
                    raise UsageError(
                        f"{len(chosen)} units are too many for a table; add --format csv, or "
                        "choose rows with --model, --gammas or --top"
                    )
                screen.print(task_table(chosen, self.prices), soft_wrap=False)
            elif self.by is not None:
                for grouping in grouped(reports, By(self.by)):
                    view = grouping_view(grouping, self._ordered(grouping.groups))
                    screen.print(view, soft_wrap=False, crop=False)
            else:
                for report in reports:
                    view = report_view(report, self._ordered(report.rows))
                    screen.print(view, soft_wrap=False, crop=False)
            for report in reports:
                mine = units[report.dataset, report.model]
                folder = _folder_of(mine)
                view = progress_view(progress_of(folder, mine, time.time()))
                screen.print(view, soft_wrap=False, crop=False)
                if spent := _spent(folder, self.prices(report.model)):
                    said = f"spent in all, unfinished work included: {spent}"
                    screen.print(said, soft_wrap=False)
            screen.print(left_out_view(found.left_out), soft_wrap=False, crop=False)
        return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())

    def data(self, form: str) -> str:
        """Return the numbers as JSON or CSV."""
        from egcfg.reports import export
        from egcfg.reports.selection import By, grouped

        found = self._look()
        reports = self._reports(found)
        if self.tasks:
            lines = export.rows_as_dicts(self._units(found))
        elif self.by is not None:
            lines = [
                line
                for grouping in grouped(reports, By(self.by))
                for line in export.groups_as_dicts(grouping, self._ordered(grouping.groups))
            ]
        elif form == "csv":
            lines = [
                line
                for report in reports
                for line in export.report_lines(report, self._ordered(report.rows))
            ]
        else:
            lines = [
                export.as_dict(report, self._ordered(report.rows))
                | self._surroundings(_units_by_report(found)[report.dataset, report.model], found)
                for report in reports
            ]
        if form == "csv":
            return printable(export.as_csv(lines))
        return printable_json(export.as_json(lines))

    def write_parquet(self, path: Path) -> None:
        """Write one line per unit."""
        from egcfg.reports.export import write_parquet

        write_parquet(self._units(self._look()), path)

    def _look(self) -> Results:
        from egcfg.reports.rows import Results

        found = self.reader.look()
        return Results(found.kept, found.left_out)

    def _reports(self, found: Results) -> list[Report]:
        from egcfg.reports.aggregate import aggregate
        from egcfg.reports.selection import select

        reports = select(aggregate(found, self.prices), self.model, self.gammas)
        if not reports:
            raise UsageError("no row is left; leave out --model or --gammas")
        prices = [row.cost.price for report in reports for row in report.rows]
        if self.sort == "cost" and prices.count(None) == len(prices):
            raise UsageError("no row's cost is known; give --prices, or --sort tokens")
        return reports

    def _units(self, found: Results) -> list[ResultRow]:
        """Return the units of the rows that are selected."""
        rows = {
            (report.dataset, report.model, row.config, row.gamma)
            for report in self._reports(found)
            for row in self._ordered(report.rows)
        }
        return [r for r in found if (r.dataset, r.model, r.config, r.gamma) in rows]

    def _ordered(self, rows: Sequence[Any]) -> tuple[Any, ...]:
        from egcfg.reports.selection import Order, ordered

        return ordered(rows, None if self.sort is None else Order(self.sort), self.top)

    def _surroundings(self, units: Sequence[ResultRow], found: Results) -> dict[str, Any]:
        """Return what JSON says of a report besides its numbers."""
        from egcfg.reports import export
        from egcfg.reports.progress import progress_of

        folder = _folder_of(units)
        left_out = [each for each in found.left_out if Path(each.path).is_relative_to(folder)]
        return {
            "progress": export.progress_as_dict(progress_of(folder, units, time.time())),
            "left_out": export.left_out_as_dicts(left_out),
        }


def _units_by_report(found: Results) -> dict[tuple[str, str], list[ResultRow]]:
    units: dict[tuple[str, str], list[ResultRow]] = defaultdict(list)
    for row in found:
        units[row.dataset, row.model].append(row)
    return units


def _folder_of(units: Sequence[ResultRow]) -> Path:
    """Return the folder of one model on one data set."""
    return Path(units[0].path).parents[1]


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another -o") from error


def _spent(folder: Path, prices: Prices | None) -> str:
    """Return what was spent on a model's results; empty where that is of no interest."""
    from egcfg.runs.store import SPENT_NAME
    from egcfg.usage.budget import Budget
    from egcfg.usage.ledger import FolderLedger

    spent = FolderLedger(folder / SPENT_NAME).others()
    budget = Budget(prices=prices)
    return budget.describe(spent) if budget.concerns(spent) else ""


def prices_of(table: PriceTable | None) -> PricesOf:
    """Return what gives the prices of a model: those of `table`, if there is one."""
    from egcfg.reports.aggregate import no_prices

    return no_prices if table is None else table.of


def harmless(found: Results) -> Results:
    """Return rows whose names and messages cannot drive a terminal: they come from files."""
    from egcfg.reports.rows import Results

    return Results(
        [_harmless_row(row) for row in found],
        [evolve(each, path=printable_line(each.path)) for each in found.left_out],
    )


def _harmless_row(row: ResultRow) -> ResultRow:
    names = ("dataset", "model", "config", "method", "task_id", "error")
    found = {name: value for name in names if (value := getattr(row, name)) is not None}
    changed: dict[str, Any] = {
        name: safe for name, text in found.items() if (safe := printable_line(text)) != text
    }
    return evolve(row, **changed) if changed else row
