"""``egcfg compare``: what methods solve per token, side by side."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import evolve

from egcfg.cli.logs import is_quiet, log_options
from egcfg.cli.terminal import printable, printable_json, printable_line
from egcfg.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from egcfg.comparison.arms import Arm
    from egcfg.comparison.comparison import Comparison

__all__ = ["compare_command"]

AXES = ("tokens", "all-tokens", "output", "calls", "passes", "requests", "executions")


@click.command("compare")
@click.argument("sources", metavar="[NAME=]PATH...", nargs=-1, required=True)
@click.option(
    "--axis",
    type=click.Choice(AXES),
    default="tokens",
    help="what budgets are counted in: tokens are prompt tokens that no cache answered, and "
    "generated ones; all-tokens has cached ones, too  [tokens]",
)
@click.option(
    "--at",
    "budgets",
    metavar="N,...",
    callback=lambda _context, _parameter, value: _numbers(value),
    help="budgets per task, such as 1000,2000,4000  [doubling]",
)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="LABEL",
    help="tell which tasks each arm gains and loses against this one (repeatable)  [best_of_n]",
)
@click.option(
    "--arm",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="only arms whose labels fit, such as 'best_of_n*' (repeatable)",
)
@click.option("--common", is_flag=True, help="Only tasks that every arm has finished.")
@click.option("--allow-mixed", is_flag=True, help="Also arms of different models or protocols.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "csv", "json"]),
    default="text",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.svg",
    callback=lambda _context, _parameter, value: _svg(value),
    help="also draw the curves as SVG",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="also keep what was compared there, one small file per arm, to compare again",
)
@log_options
def compare_command(
    sources: Sequence[str],
    axis: str,
    budgets: Sequence[int],
    baselines: Sequence[str],
    patterns: Sequence[str],
    common: bool,
    allow_mixed: bool,
    form: str,
    plot: Path | None,
    save: Path | None,
) -> None:
    """Compare methods on the same tasks: what each solves per token.

    PATH is a results folder or a part of it, a folder or file of saved arms (--save), or the
    verdicts that `egcfg score --out` wrote on another tool's samples. An arm is one configuration
    at one gamma, or one method with its options; its tasks may be spread over several PATHs.

    Within a budget the last answer that came in time counts. Intervals are bootstraps over tasks;
    gained and lost tasks are held against a baseline at equal cost by McNemar's exact test.
    """
    from egcfg.comparison.arms import Axis
    from egcfg.comparison.comparison import common_tasks, compare
    from egcfg.comparison.sameness import check_same
    from egcfg.comparison.saved import save_arm
    from egcfg.comparison.sources import read_arms

    arms = _chosen(read_arms(sources), patterns, baselines)
    if not allow_mixed:
        check_same(arms)
    if common:
        arms = common_tasks(arms)
    comparison = compare(
        [_harmless(arm) for arm in arms] if form in ("text", "markdown") else arms,
        axis=Axis(axis),
        budgets=budgets,
        baselines=baselines,
    )
    click.echo(_renderer(form)(comparison), nl=False)
    if save is not None:
        for arm in arms:
            path = save_arm(arm, save)
            if not is_quiet():
                click.echo(printable_line(f"saved {path}"), err=True)
    if plot is not None:
        from egcfg.comparison.plot import as_svg
        from egcfg.runs.files import write_atomically

        write_atomically(plot, as_svg(comparison))


def _numbers(text: str | None) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(",")) if text is not None else ()
    except ValueError:
        numbers = (0,)
    if any(number < 1 for number in numbers):
        raise click.BadParameter(f"{text!r} are no whole numbers such as 1000,2000")
    return numbers


def _svg(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() != ".svg":
        raise click.BadParameter(f"{path} would be SVG; give it a name that ends in .svg")
    return path


def _chosen(arms: Sequence[Arm], patterns: Sequence[str], baselines: Sequence[str]) -> list[Arm]:
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(arm.label, pattern) for arm in arms):
            raise UnknownNameError("arm", pattern, [arm.label for arm in arms])
    fits = [any(fnmatch.fnmatchcase(arm.label, p) for p in patterns or ["*"]) for arm in arms]
    chosen = [arm for arm, fit in zip(arms, fits, strict=True) if fit]
    for label in baselines:
        named = [arm for arm in arms if arm.label.startswith(label)]
        if named and not any(arm in chosen for arm in named):
            raise UsageError(
                f"the baseline {label!r} is none of the arms that --arm chooses; add --arm "
                f"'{named[0].label}'"
            )
    return chosen


def _harmless(arm: Arm) -> Arm:
    """Return an arm whose names cannot drive a terminal: they come from files."""
    return evolve(
        arm,
        label=printable_line(arm.label),
        dataset=None if arm.dataset is None else printable_line(arm.dataset),
        model=None if arm.model is None else printable_line(arm.model),
        outcomes={
            printable_line(task): evolve(outcome, task_id=printable_line(task))
            for task, outcome in arm.outcomes.items()
        },
        planned=tuple(map(printable_line, arm.planned)),
    )


def _renderer(form: str) -> Callable[[Comparison], str]:
    from egcfg.comparison.export import as_csv, as_json
    from egcfg.comparison.tables import as_markdown, as_text

    return {
        "text": lambda comparison: printable(as_text(comparison)),
        "markdown": lambda comparison: printable(as_markdown(comparison)),
        "csv": lambda comparison: printable(as_csv(comparison)),
        "json": lambda comparison: printable_json(as_json(comparison)),
    }[form]
