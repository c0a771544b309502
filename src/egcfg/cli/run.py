"""``egcfg run``: the main job, a data set solved over a grid of settings."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import click
from attrs import evolve

from egcfg.cli.dry_run import dry_run
from egcfg.cli.logs import is_quiet, log_options
from egcfg.cli.monitor import harmless, prices_of
from egcfg.cli.running import model_name, run_async, use_meter
from egcfg.cli.settings import SettingCommand, setting_options
from egcfg.cli.status import ENDED_EARLY, FAILED, Interrupted
from egcfg.cli.terminal import console, printable_line
from egcfg.config import EffectiveConfig, Executor, RunConfig, Schedule

if TYPE_CHECKING:
    from egcfg.interfaces.problem import Problem
    from egcfg.records.recorder import Recorder
    from egcfg.runs.grid import Unit
    from egcfg.runs.observer import RunObserver, RunSummary
    from egcfg.runs.plan import RunPlan
    from egcfg.runs.work import Solve
    from egcfg.usage.budget import Spending

__all__ = ["run_command"]


@click.command("run", cls=SettingCommand)
@click.option(
    "--dry-run",
    "only_estimate",
    is_flag=True,
    help="Show the first prompts and what the run may take and cost; ask no model.",
)
@click.option(
    "--record",
    is_flag=True,
    help="Keep beside each new result how it came about; `egcfg show` and `egcfg report` read it.",
)
@setting_options()
@log_options
def run_command(effective: EffectiveConfig, only_estimate: bool, record: bool) -> int:
    """Solve the problems of a data set over a grid of settings, and judge the solutions.

    Results are written one file per task, configuration and gamma. Running the same command again
    goes on where it stopped; any number of processes may share a results folder. The table at the
    end goes to standard output, everything else to standard error.

    A budget is held against everything that was spent on the results of this model and data set:
    by all processes together, by earlier runs, and on units that came to no result.
    """
    from egcfg.config.components import check_names, check_scorers
    from egcfg.datasets.selection import open_problems
    from egcfg.reports.rows import ResultRow, Results
    from egcfg.reports.table import run_view

    # Everything cheap comes before the model: names, the grid, the data.
    config = effective.config
    check_names(config)
    problems = open_problems(config)
    check_scorers(config, problems)
    if only_estimate:
        dry_run(config, problems)
        return 0
    try:
        summary, plan = run_async(_work(config, problems, record=record))
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"interrupted; finished units are kept in {config.results_dir}: "
            "run the same command again to go on"
        ) from error
    if summary.paths:
        rows = harmless(Results([*map(ResultRow.of, summary.files)]))
        view = run_view(rows, prices_of(config.prices))
        console(sys.stdout).print(view, soft_wrap=False, crop=False)
    return _closing_words(summary, plan)


async def _work(
    config: RunConfig, problems: Sequence[Problem], *, record: bool
) -> tuple[RunSummary, RunPlan]:
    from egcfg.cli.progress import run_progress
    from egcfg.engine import Engine
    from egcfg.runs.plan import plan_run
    from egcfg.runs.runner import run
    from egcfg.usage.budget import Meter
    from egcfg.usage.ledger import FolderLedger

    with run_progress() as progress:
        async with AsyncExitStack() as exits:
            engine = await exits.enter_async_context(Engine(config))
            plan = plan_run(config, problems, await model_name(engine))
            meter = Meter(plan.budget, FolderLedger(plan.folder.spent_path))
            progress.meter = meter
            if plan.folder.path.is_dir():  # else a failed opening would make it
                use_meter(engine, meter)

            async def open_here() -> int:
                backend = await engine.open()
                if engine.meter is not meter:
                    use_meter(engine, meter)
                return config.concurrency or backend.tasks_in_flight

            solve: Solve = engine.solve_steps
            open_model: Callable[[], Awaitable[int]] = open_here
            if config.executor is Executor.RAY:
                from egcfg.cluster.executor import RayExecutor

                prompts = {row.prompt for row in plan.grid.rows}
                provenances = {prompt: plan.provenance_of(prompt) for prompt in prompts}
                cluster = RayExecutor(config, meter, provenances)
                await exits.enter_async_context(cluster)
                solve, open_model = cluster.solve, cluster.open
            summary = await run(
                plan.grid,
                plan.folder,
                solve,
                open_model=open_model,
                settings=plan.settings,
                provenance_of=plan.provenance_of,
                stop_when_solved=config.stop_when_solved,
                rounds=config.schedule is Schedule.ROUNDS,
                observer=_observer(config, plan, progress),
                meter=meter,
                recorder_of=partial(_recorder, config) if record else None,
            )
    return summary, plan


def _observer(config: RunConfig, plan: RunPlan, progress: RunObserver) -> RunObserver:
    """Return what tells `progress` what the run does, and the plugins that watch runs."""
    from egcfg.plugins.registry import registry
    from egcfg.runs.hooks import HookObserver

    watching = [report for report in registry().reports if report.observes]
    return HookObserver(progress, watching, plan, config.method) if watching else progress


def _recorder(config: RunConfig, unit: Unit) -> Recorder:
    from egcfg.records.entries import UnitEntry
    from egcfg.records.recorder import Recorder

    problem = unit.problem
    return Recorder(
        UnitEntry(
            task_id=problem.task_id,
            description=problem.description,
            entry_point=problem.entry_point,
            given_code=problem.given_code,
            tests_seen=tuple(test.name for test in problem.visible_tests),
            config=str(unit.config),
            gamma=unit.gamma,
            method=config.method,
            tracer=config.tracer,
        )
    )


def _closing_words(summary: RunSummary, plan: RunPlan) -> int:
    if summary.finished and not is_quiet():
        click.echo(_pace(summary), err=True)
    if summary.in_flight_elsewhere:
        click.echo(f"{summary.in_flight_elsewhere} units are at work in other processes", err=True)
    for unit, reason in summary.failures:
        click.echo(printable_line(f"left undone: {unit}: {reason}"), err=True)
    if summary.failures:
        click.echo("run the same command again to try them again", err=True)
    _say_what_was_spent(summary.spending, plan)
    if summary.unfinished:
        click.echo(
            f"{summary.unfinished} units were cut short: their last answers count, and the same "
            "command with a larger budget does them anew",
            err=True,
        )
    if summary.ended_early is not None:
        # Others may have done some since this process looked.
        results = (file.result for file in summary.files)
        done = sum(result is not None and not result.unfinished for result in results)
        click.echo(f"{done} of {summary.total} units are done; {summary.ended_early}", err=True)
        return ENDED_EARLY
    return FAILED if summary.failures else 0


def _pace(summary: RunSummary) -> str:
    """Return how fast this process was."""
    units = f"{summary.finished} unit{'' if summary.finished == 1 else 's'}"
    at_once = f", up to {summary.concurrency} at once" if summary.concurrency > 1 else ""
    per_minute = 60 * summary.finished / max(summary.seconds, 1e-3)
    return f"{units} in {summary.seconds:.1f} s: {per_minute:.3g} a minute{at_once}"


def _say_what_was_spent(spending: Spending, plan: RunPlan) -> None:
    """Say what a budget is held against: everything spent on the folder; and this run's part."""
    budget, total = plan.budget, spending.total
    if is_quiet() or not budget.concerns(total):
        return
    click.echo(printable_line(f"spent on {plan.folder.path}: {budget.describe(total)}"), err=True)
    if total != spending.here:
        here = evolve(budget, max_requests=None, max_tokens=None, max_cost=None)
        click.echo(f"  in this run: {here.describe(spending.here)}", err=True)
