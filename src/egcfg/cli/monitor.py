"""``egcfg monitor``: the numbers of a results folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from egcfg.cli.logs import log_options
from egcfg.cli.terminal import console, printable, printable_json, printable_line
from egcfg.config import load_config

if TYPE_CHECKING:
    from egcfg.reports.aggregate import PricesOf
    from egcfg.runs.store import Record
    from egcfg.usage.prices import Prices, PriceTable

__all__ = ["harmless", "monitor_command", "prices_of"]

SECONDS_BETWEEN_LOOKS = 2.0


@click.command("monitor")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, path_type=Path))
@click.option("--format", "form", type=click.Choice(["text", "json", "csv"]), default="text")
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@click.option(
    "--prices",
    metavar="PRICES",
    help="what a million tokens cost, such as input=0.2,cached_input=0.1,output=0.6  "
    "[as egcfg.toml or EGCFG_PRICES says]",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="read the prices from this file  [egcfg.toml of the working directory, if there]",
)
@log_options
def monitor_command(
    folder: Path, form: str, watch: bool, prices: str | None, config_file: Path | None
) -> None:
    """Print the table of a results folder, or of any part of one.

    Accuracy is of single runs: one configuration, one gamma. The union counts what any of them
    solved, so an oracle over the tests picks. RSR is the share of what the unguided model left
    unsolved. The cost stands beside them where prices are known.
    """
    given = {} if prices is None else {"prices": prices}
    table = load_config(given, file=config_file).config.prices
    while True:
        text = _report(folder, form, prices_of(table))
        if watch and form == "text" and sys.stdout.isatty():
            click.clear()
        click.echo(text, nl=False)
        if not watch:
            return
        sys.stdout.flush()
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _report(folder: Path, form: str, prices: PricesOf) -> str:
    from egcfg.reports.aggregate import aggregate
    from egcfg.reports.export import as_csv, as_json
    from egcfg.reports.table import report_view
    from egcfg.runs.store import scan

    records = scan(folder)
    if form == "json":
        return printable_json(as_json(aggregate(records, prices)))
    if form == "csv":
        return printable(as_csv(aggregate(records, prices)))
    screen = console(sys.stdout)
    shown = harmless(records)
    folders = {(record.dataset, record.model): record.path.parents[1] for record in shown}
    with screen.capture() as capture:
        for report in aggregate(shown, prices):
            screen.print(report_view(report))
            spent = _spent(folders[report.dataset, report.model], prices(report.model))
            if spent:
                screen.print(f"spent in all, unfinished work included: {spent}")
    return capture.get()


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


def harmless(records: Sequence[Record]) -> list[Record]:
    """Return records whose names and messages cannot drive a terminal: they come from files."""
    from attrs import evolve

    return [
        evolve(
            record,
            dataset=printable_line(record.dataset),
            model=printable_line(record.model),
            config=printable_line(record.config),
            task_id=printable_line(record.task_id),
            problem=None if record.problem is None else printable_line(record.problem),
        )
        for record in records
    ]
