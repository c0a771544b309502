"""``egcfg published``: figures of papers, with the protocols that they were reached by."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from egcfg.cli.logs import log_options
from egcfg.cli.terminal import console
from egcfg.errors import UsageError, did_you_mean

__all__ = ["published_command"]


@click.command("published")
@click.option("--dataset", metavar="NAME", help="only those of a data set, such as mbpp")
@click.option("--model", metavar="TEXT", help="only those of models whose name contains this")
@click.option("--method", metavar="NAME", help="only those of a method, as `egcfg plugins` has it")
@click.option("--format", "form", type=click.Choice(["text", "json", "csv"]), default="text")
@log_options
def published_command(
    dataset: str | None, model: str | None, method: str | None, form: str
) -> None:
    """Print published figures to compare with, and who saw which tests.

    They are cited, not measured: each has its source, the number of tasks, the tests that the
    method saw of those that score, and what ended its tries. Figures of different protocols cannot
    be compared, and a union over several answers is no accuracy of a single run.
    """
    from egcfg.reports.published import FIGURES, as_csv, as_json, figures_view

    _check("--dataset", dataset, {figure.dataset for figure in FIGURES})
    _check("--method", method, {figure.method for figure in FIGURES})
    figures = [
        figure
        for figure in FIGURES
        if dataset in (None, figure.dataset)
        and method in (None, figure.method)
        and (model or "").lower() in figure.model.lower()
    ]
    if not figures:
        known = ", ".join(dict.fromkeys(figure.model for figure in FIGURES))
        raise UsageError(f"nothing was published for all of that; models with figures: {known}")
    if form == "text":
        console(sys.stdout).print(figures_view(figures))
    else:
        click.echo(as_json(figures) if form == "json" else as_csv(figures), nl=False)


def _check(flag: str, name: str | None, known: Iterable[str]) -> None:
    """See that there are figures of a name.

    Raises:
        UsageError: there are none.
    """
    names = list(known)
    if name is not None and name not in names:
        raise UsageError(f"{flag}: no figures of {name!r}{did_you_mean(name, names)}")
