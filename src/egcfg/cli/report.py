"""``egcfg report``: a results folder as one file for a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from egcfg.cli.logs import is_quiet, log_options
from egcfg.cli.monitor import prices_of, prices_option
from egcfg.cli.terminal import printable_line
from egcfg.config import load_config
from egcfg.errors import MissingExtraError

if TYPE_CHECKING:
    from egcfg.reports.page.overview import Overview

__all__ = ["read_overview", "report_command"]

STEP = 1000
"""Results between two words of progress."""


@click.command("report")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    default=Path("report.html"),
    show_default=True,
    help="where to write",
)
@prices_option
@log_options
def report_command(folder: Path, out: Path, prices: str | None) -> None:
    """Write a results folder, or any part of one, as one HTML file that opens offline.

    It has accuracies with 95 % intervals, unions, costs and curves, and every task; of results of
    a run with --record also how each line was decided, as far as 20 MB have room for it.
    """
    from egcfg.runs.files import write_atomically

    overview = read_overview(folder, prices)
    from egcfg.reports.page.render import page

    text = page(overview, on_packed=_progress("packed"))
    write_atomically(out, text.encode("utf-8", "replace"))
    size = out.stat().st_size / 1e6
    if not is_quiet():
        click.echo(printable_line(f"{out}: {overview.results} results, {size:.1f} MB"), err=True)


def read_overview(folder: Path, prices: str | None) -> Overview:
    """Read a folder for a page, and say how far that is.

    Raises:
        MissingExtraError: what makes the page is not installed.
        RunError: the folder holds no result file.
    """
    table = load_config({} if prices is None else {"prices": prices}).config.prices
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
        import scipy  # noqa: F401

        from egcfg.reports.page.overview import overview
    except ImportError as error:
        raise MissingExtraError(
            f"{error.name} is missing, which makes the page; install it with: "
            "pip install 'egcfg[report]'"
        ) from error
    return overview(folder, prices_of(table), _progress("read"))


def _progress(what: str) -> Callable[[int], None]:
    """Return what says now and then how far long work is."""

    def say(done: int) -> None:
        if done % STEP == 0 and not is_quiet():
            click.echo(f"{what} {done} results", err=True)

    return say
