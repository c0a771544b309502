"""``egcfg solve``: one problem in words or as a stub, its code on standard output."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from egcfg.cli.logs import log_options
from egcfg.cli.problem import problem_asked
from egcfg.cli.running import model_name, run_async, use_meter
from egcfg.cli.settings import SETTINGS_OF_RUNS, SettingCommand, setting_options
from egcfg.cli.status import ENDED_EARLY, NOT_SOLVED
from egcfg.cli.terminal import printable, printable_line
from egcfg.config import EffectiveConfig, RunConfig
from egcfg.config.schema import Group
from egcfg.errors import BudgetError

if TYPE_CHECKING:
    from egcfg.bench import MadeAttempt
    from egcfg.interfaces.method import Configuration
    from egcfg.interfaces.problem import Problem
    from egcfg.interfaces.solution import LineStep, Solution

__all__ = ["solve_command"]


@click.command("solve", cls=SettingCommand)
@click.argument("description", metavar="DESCRIPTION|STUB.py")
@click.option(
    "--test",
    "asserts",
    multiple=True,
    metavar="ASSERT",
    help='an assert about the function, such as "assert f(2) == 4" (repeatable)',
)
@click.option(
    "--tests",
    "test_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="a file of tests: asserts, and pytest's functions of asserts",
)
@click.option(
    "--stdin",
    "inputs",
    multiple=True,
    metavar="TEXT|FILE",
    help="what a whole program reads, instead of tests of a function (repeatable)",
)
@click.option(
    "--expect",
    "outputs",
    multiple=True,
    metavar="TEXT|FILE",
    help="what it is to write then, one for each --stdin",
)
@click.option(
    "--function",
    metavar="NAME",
    help="the function's name  [the stub's, or the one that every test calls]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="how long it may take, loading the model included; the best answer up to then is printed",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="tokens that it may spend in all, prompt tokens that no cache answers and generated ones; "
    "likewise",
)
@click.option(
    "--explain", is_flag=True, help="show on standard error how each line is decided, and why"
)
@setting_options(
    without=(Group.PROBLEMS, *SETTINGS_OF_RUNS, "tokens_per_task"),
    defaults={"method": "best_of_n"},
)
@log_options
def solve_command(
    effective: EffectiveConfig,
    description: str,
    seconds: float | None,
    tokens: int | None,
    explain: bool,
    **tests: Any,
) -> int:
    """Solve the problem that DESCRIPTION words, or the function of a stub; print the code.

    A stub is a file of Python with the function's signature, perhaps a docstring, and `...` as its
    body. By default the model's likeliest answer is followed by others that are drawn, until one
    passes every test, ten at most (--method best_of_n). Other methods work as they see fit: cascade
    adds a guided answer and a repair; egcfg tries the settings of the grid in turn, by default
    gamma 0, then gamma 1. Standard error shows each answer as it is made. Standard output holds the
    code and nothing else, also where no test passed: the exit status is 0 if it is solved, 1 if
    not, 2 for wrong usage, 3 where a budget ended the work first (it then holds the best code so
    far). Each call has its budget to itself.
    """
    started = time.monotonic()
    deadline = None if seconds is None else started + seconds
    problem = problem_asked(description, **tests)
    # Whatever a library prints while it works is no code.
    with redirect_stdout(sys.stderr):
        best, spent, ended_by = run_async(
            _solve(effective.config, problem, tokens, deadline, explain)
        )
    code = best.code.rstrip("\n")
    if code:
        # A pipe gets the code as it is: click would drop what looks like colour.
        click.echo(printable(code) if sys.stdout.isatty() else code, color=True)
    _report(best, effective.config.method, spent)
    if best.passed:
        return 0
    if ended_by is not None:
        click.echo(str(ended_by), err=True)
        return ENDED_EARLY
    return NOT_SOLVED


async def _solve(
    config: RunConfig,
    problem: Problem,
    tokens: int | None,
    deadline: float | None,
    explain: bool,
) -> tuple[Solution, str, BudgetError | str | None]:
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
    ended_by: BudgetError | str | None = None
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

        numbers = itertools.count(1)
        found = engine.solve_in_turn(
            problem,
            attempts(),
            tokens=tokens,
            deadline=deadline,
            on_step=show,
            on_attempt=lambda made: _show_attempt(next(numbers), made, explain),
            on_note=_show_note if explain else None,
        )
        try:
            async with aclosing(found):
                async for solution in found:
                    tried.append(solution)
                    if "refused" in solution.events:
                        ended_by = (
                            "--seconds or --tokens ended the work; run again with more to go on"
                        )
        except BudgetError as error:
            if not tried:
                raise
            ended_by = error
    budget, spent = meter.budget, meter.spending.total
    best = max(tried, key=lambda solution: (solution.passed, solution.score.accuracy))
    return best, budget.describe(spent) if budget.concerns(spent) else "", ended_by


def _show_attempt(number: int, made: MadeAttempt, explain: bool) -> None:
    """Say that there is an answer, and how good it is as far as that is known."""
    lines = len(made.attempt.program.splitlines())
    size = "no program" if not lines else f"{lines} line{'' if lines == 1 else 's'}"
    share = "" if made.share is None else f", {made.share:.0%} of the tests passed"
    stage = printable_line(made.attempt.stage)
    said = f"answer {number} ({stage}): {size}{share}, after {made.spent.tokens} tokens"
    click.echo(said, err=True)
    if explain:
        code = "\n".join(f"  | {line}" for line in made.attempt.program.splitlines())
        click.echo(printable(code), err=True)


def _show_note(event: str, facts: Mapping[str, Any]) -> None:
    """Say what the method noted, such as a decision."""
    said = ", ".join(f"{name} {value}" for name, value in facts.items())
    what = event.replace("_", " ")
    click.echo(printable_line(f"  method {what}: {said}" if said else f"  method {what}"), err=True)


def _report(solution: Solution, method: str, spent: str) -> None:
    usage, settings = solution.generation.total_usage, solution.settings
    seconds = (solution.ended - solution.started).total_seconds()
    for result in solution.score.results:
        click.echo(printable(f"{result.status.value}: {result.name}"), err=True)
    if solution.score.general_error:
        click.echo(printable(solution.score.general_error), err=True)
    how = f"gamma {settings.gamma:g}" if method == "egcfg" else f"method {method}"
    verdict = "solved" if solution.passed else "not solved"
    click.echo(
        f"{verdict} ({how}, {usage.output_tokens} tokens, {seconds:.1f} s)",
        err=True,
    )
    if spent:
        click.echo(f"spent: {spent}", err=True)
