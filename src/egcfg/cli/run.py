"""``egcfg run``: the main job, a data set solved over a grid of settings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from egcfg.cli.logs import log_options
from egcfg.cli.monitor import harmless
from egcfg.cli.settings import SettingCommand, setting_options
from egcfg.cli.status import FAILED, Interrupted
from egcfg.cli.terminal import console, printable_line
from egcfg.config import EffectiveConfig, RunConfig

if TYPE_CHECKING:
    from egcfg.problem import Problem
    from egcfg.runs.runner import RunSummary
    from egcfg.runs.store import Record

__all__ = ["run_command"]


@click.command("run", cls=SettingCommand)
@setting_options()
@log_options
def run_command(effective: EffectiveConfig) -> int:
    """Solve the problems of a data set over a grid of settings, and judge the solutions.

    Results are written one file per task, configuration and gamma. Running the same command again
    goes on where it stopped; any number of processes may share a results folder. The table at the
    end goes to standard output, everything else to standard error.
    """
    from egcfg.assembly import check_names, check_scorers, open_problems
    from egcfg.plan import signal_configs
    from egcfg.reports.table import run_view

    # Everything cheap comes before the model: names, the grid, the data.
    config = effective.config
    signal_configs(config)
    check_names(config)
    problems = open_problems(config)
    check_scorers(config, problems)
    try:
        summary, records = _work(config, problems)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"interrupted; finished units are kept in {config.results_dir}: "
            "run the same command again to go on"
        ) from error
    console(sys.stdout).print(run_view(harmless(records)))
    return _closing_words(summary)


def _work(config: RunConfig, problems: Sequence[Problem]) -> tuple[RunSummary, list[Record]]:
    from egcfg.assembly import Engines, model_label
    from egcfg.cli.progress import run_progress
    from egcfg.plan import plan_run, signal_configs
    from egcfg.runs.runner import grid_records, run

    with Engines(config) as engines, run_progress() as progress:
        model = model_label(config)
        if model is None:
            model = engines(signal_configs(config)[0].prompt).backend.model_name
        plan = plan_run(config, problems, model)
        summary = run(
            plan.grid,
            plan.folder,
            engines,
            settings=plan.settings,
            pins_for=plan.pins_for,
            stop_when_solved=config.stop_when_solved,
            observer=progress,
        )
    return summary, grid_records(plan.grid, plan.folder)


def _closing_words(summary: RunSummary) -> int:
    if summary.in_flight_elsewhere:
        click.echo(f"{summary.in_flight_elsewhere} units are at work in other processes", err=True)
    for unit, reason in summary.failures:
        click.echo(printable_line(f"left undone: {unit}: {reason}"), err=True)
    if summary.failures:
        click.echo("run the same command again to try them again", err=True)
    return FAILED if summary.failures else 0
