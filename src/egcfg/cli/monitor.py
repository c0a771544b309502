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

if TYPE_CHECKING:
    from egcfg.runs.store import Record

__all__ = ["harmless", "monitor_command"]

SECONDS_BETWEEN_LOOKS = 2.0


@click.command("monitor")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, path_type=Path))
@click.option("--format", "form", type=click.Choice(["text", "json", "csv"]), default="text")
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@log_options
def monitor_command(folder: Path, form: str, watch: bool) -> None:
    """Print the table of a results folder, or of any part of one.

    Accuracy is of single runs: one configuration, one gamma. The union counts what any of them
    solved, so an oracle over the tests picks. RSR is the share of what the unguided model left
    unsolved.
    """
    while True:
        text = _report(folder, form)
        if watch and form == "text" and sys.stdout.isatty():
            click.clear()
        click.echo(text, nl=False)
        if not watch:
            return
        sys.stdout.flush()
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _report(folder: Path, form: str) -> str:
    from egcfg.reports.aggregate import aggregate
    from egcfg.reports.export import as_csv, as_json
    from egcfg.reports.table import report_view
    from egcfg.runs.store import scan

    records = scan(folder)
    if form == "json":
        return printable_json(as_json(aggregate(records)))
    if form == "csv":
        return printable(as_csv(aggregate(records)))
    screen = console(sys.stdout)
    with screen.capture() as capture:
        for report in aggregate(harmless(records)):
            screen.print(report_view(report))
    return capture.get()


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
