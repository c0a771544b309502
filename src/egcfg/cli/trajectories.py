"""``egcfg trajectories``: recorded results as training data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

import click

from egcfg.cli.logs import is_quiet, log_options
from egcfg.cli.terminal import printable_line
from egcfg.errors import RunError

__all__ = ["trajectories_command"]


@click.command("trajectories")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.File("w", encoding="ascii", lazy=True, atomic=True),
    default="-",
    metavar="FILE",
    help="where to write, as JSON lines  [standard output]",
)
@log_options
def trajectories_command(folder: Path, out: TextIO) -> int:
    """Write the recorded results of DIR as training data, one JSON object a line.

    Each has the prompt and the answer as messages (as TRL and verifiers read them), every line with
    its candidates and, per token, the log-probabilities with the signal and without, all runs with
    their values, and the verdicts of visible and hidden tests. `egcfg run --record` makes records.
    """
    from egcfg.records.trajectories import trajectories

    written = failed = 0
    for each in trajectories(folder):
        if isinstance(each, RunError):
            failed += 1
            click.echo(printable_line(f"left out: {each}"), err=True)
            continue
        # ASCII: whatever models and programs wrote, it drives no terminal.
        out.write(json.dumps(each) + "\n")
        written += 1
    if not written and not failed:
        raise RunError(
            f"{folder} holds no records; egcfg run --record keeps one for each new result"
        )
    if not is_quiet() and out.name != "-":
        click.echo(printable_line(f"{out.name}: {written} trajectories"), err=True)
    return 1 if failed else 0
