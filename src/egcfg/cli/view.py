"""``egcfg view``: a results folder in a browser on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from egcfg.cli.logs import log_options
from egcfg.cli.monitor import prices_option
from egcfg.cli.report import read_overview
from egcfg.errors import UsageError

__all__ = ["view_command"]


@click.command("view")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--port",
    type=click.IntRange(min=0, max=65535),
    metavar="N",
    default=0,
    help="where to listen  [any port that is free]",
)
@prices_option
@log_options
def view_command(folder: Path, port: int, prices: str | None) -> None:
    """Serve the page of a results folder to the browser of this machine, until Ctrl-C.

    It is the page of `egcfg report`, with the steps of every recorded result, however many there
    are. It listens on loopback alone; the folder is read once, when it starts.
    """
    overview = read_overview(folder, prices)
    from egcfg.reports.page.serving import PageServer

    try:
        server = PageServer(overview, port)
    except OSError as error:
        raise UsageError(
            f"cannot listen on port {port}: {error.strerror}; choose another --port"
        ) from error
    with server:
        click.echo(f"{server.address}  (Ctrl-C ends it)", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("ended", err=True)
