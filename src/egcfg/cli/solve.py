"""``egcfg solve``: one problem in words, its code on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import aclosing, redirect_stdout
from typing import TYPE_CHECKING

import click

from egcfg.cli.logs import log_options
from egcfg.cli.running import model_name, run_async, use_meter
from egcfg.cli.settings import SettingCommand, setting_options
from egcfg.cli.status import BUDGET_USED_UP, NOT_SOLVED
from egcfg.cli.terminal import printable
from egcfg.config import EffectiveConfig, RunConfig
from egcfg.config.schema import Group
from egcfg.errors import BudgetError, UsageError

if TYPE_CHECKING:
    from egcfg.interfaces.method import Configuration
    from egcfg.interfaces.problem import Problem
    from egcfg.interfaces.solution import LineStep, Solution

__all__ = ["solve_command"]


@click.command("solve", cls=SettingCommand)
@click.argument("description")
@click.option(
    "--test",
    "tests",
    multiple=True,
    required=True,
    metavar="ASSERT",
    help='an assert about the function, such as "assert f(2) == 4" (repeatable)',
)
@click.option(
    "--function", metavar="NAME", help="the function's name  [the one that every test calls]"
)
@click.option(
    "--explain", is_flag=True, help="show on standard error how each line is decided, and why"
)
@setting_options(without=(Group.PROBLEMS, "results_dir", "concurrency", "stop_when_solved"))
@log_options
def solve_command(
    effective: EffectiveConfig,
    description: str,
    tests: tuple[str, ...],
    function: str | None,
    explain: bool,
) -> int:
    """Solve the problem that DESCRIPTION words, and print the code.

    Tries the settings of the grid in turn (by default gamma 0, then gamma 1) until a solution
    passes every test. Standard output holds the code and nothing else, also where no test passed:
    the exit status is 0 if it is solved, 1 if not, 2 for wrong usage, 3 where a budget ended the
    work first (it then holds the best code so far). Each call has its budget to itself.
    """
    problem = _problem(description, tests, function)
    # Whatever a library prints while it works is no code.
    with redirect_stdout(sys.stderr):
        best, spent, ended_by = run_async(_solve(effective.config, problem, explain))
    code = best.code.rstrip("\n")
    if code:
        # A pipe gets the code as it is: click would drop what looks like colour.
        click.echo(printable(code) if sys.stdout.isatty() else code, color=True)
    _report(best, spent)
    if ended_by is not None:
        click.echo(str(ended_by), err=True)
        return BUDGET_USED_UP
    return 0 if best.passed else NOT_SOLVED


def _problem(description: str, tests: Sequence[str], function: str | None) -> Problem:
    from egcfg.datasets.assertions import called_functions, fault_in_assert, infer_entry_point
    from egcfg.interfaces.problem import AssertTest, Problem

    if not description.strip():
        raise UsageError("the description is empty; say in words what the function is to do")
    for test in tests:
        fault = fault_in_assert(test)
        if fault is not None:
            raise UsageError(f"--test: {fault}")
    name = function or infer_entry_point(tests)
    if name is None:
        raise UsageError("the tests call no function in common; name it with --function NAME")
    for test in tests:
        if name not in called_functions(test):
            raise UsageError(
                f"--test: {test.strip()!r} does not call {name!r}; test the function by its name"
            )
    return Problem(
        task_id="solve",
        description=description,
        entry_point=name,
        visible_tests=tuple(AssertTest(test) for test in tests),
    )


async def _solve(
    config: RunConfig, problem: Problem, explain: bool
) -> tuple[Solution, str, BudgetError | None]:
    """Return the best solution, what all of them cost, and the budget that ended the work."""
    from egcfg.cli.explain import Explainer
    from egcfg.config.components import check_names, check_scorers
    from egcfg.engine import Engine
    from egcfg.runs.plan import base_settings, model_budget, planned_grid
    from egcfg.usage.budget import Meter

    check_names(config)
    check_scorers(config, [problem])
    grid = planned_grid(config, [problem])
    tried: list[Solution] = []
    ended_by = None
    async with Engine(config) as engine:
        meter = use_meter(engine, Meter(model_budget(config, await model_name(engine))))
        explainer: Explainer | None = None

        def attempts() -> Iterator[Sequence[Configuration]]:
            nonlocal explainer
            base = base_settings(config)
            for unit in grid:
                if explain:
                    gamma = "" if unit.gamma is None else f", gamma {unit.gamma:g}"
                    click.echo(f"=== {unit.config}{gamma}", err=True)
                    prompt = engine.prompt(problem, unit.config.prompt)
                    explainer = Explainer(engine.tracer, prompt.response_prefix)
                yield unit.configurations(base)

        def show(step: LineStep) -> None:
            if explainer is not None:
                explainer(step)

        try:
            async with aclosing(engine.solve_in_turn(problem, attempts(), on_step=show)) as found:
                async for solution in found:
                    tried.append(solution)  # noqa: PERF401 - kept where a budget ends the work
        except BudgetError as error:
            if not tried:
                raise
            ended_by = error
    budget, spent = meter.budget, meter.spending.total
    best = max(tried, key=lambda solution: (solution.passed, solution.score.accuracy))
    return best, budget.describe(spent) if budget.concerns(spent) else "", ended_by


def _report(solution: Solution, spent: str) -> None:
    usage, settings = solution.generation.total_usage, solution.settings
    seconds = (solution.ended - solution.started).total_seconds()
    for result in solution.score.results:
        click.echo(printable(f"{result.status.value}: {result.name}"), err=True)
    if solution.score.general_error:
        click.echo(printable(solution.score.general_error), err=True)
    verdict = "solved" if solution.passed else "not solved"
    click.echo(
        f"{verdict} (gamma {settings.gamma:g}, {usage.output_tokens} tokens, {seconds:.1f} s)",
        err=True,
    )
    if spent:
        click.echo(f"spent: {spent}", err=True)
