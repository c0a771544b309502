"""``egcfg run --dry-run``: the first prompts and what a run may come to, with no model opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from egcfg.cli.terminal import printable, printable_line
from egcfg.errors import UsageError

if TYPE_CHECKING:
    from egcfg.config import RunConfig
    from egcfg.interfaces.problem import Problem
    from egcfg.interfaces.prompt import Prompt
    from egcfg.interfaces.usage import Usage
    from egcfg.runs.grid import Unit
    from egcfg.runs.plan import RunPlan

__all__ = ["dry_run"]

TASKS_SHOWN = 2
SLOT = "[... the signal: candidates and what happened when they ran, at most {} tokens ...]"


def dry_run(config: RunConfig, problems: Sequence[Problem]) -> None:
    """Print the first prompts and the estimate.

    Raises:
        UsageError: the run itself would be refused.
        RunError: the results folder cannot be read.
    """
    from egcfg.config.components import model_label
    from egcfg.interfaces.method import Need
    from egcfg.plugins.hookspecs import Kind
    from egcfg.plugins.registry import component_class
    from egcfg.runs.plan import plan_run

    model = model_label(config)
    if model is None:
        raise UsageError(
            f"only the opened backend {config.backend!r} would know which model it runs; name the "
            "model with --model for a --dry-run"
        )
    plan = plan_run(config, problems, model)
    units = list(plan.grid)
    prompts = _prompts(config, units)
    method = component_class(Kind.METHOD, config.method)
    guided = any(unit.gamma for unit in units) or Need.LOGPROBS in method.needs
    _print_prompts(prompts, units, config.signal_tokens if guided else None)
    to_do = [unit for unit in units if not _is_done(unit, plan)]
    if any(prompt.chat for prompt in prompts.values()):
        click.echo("chats are shown without the model's template, which only the model knows")
    done = f"{len(units)} units, {len(units) - len(to_do)} of them done"
    if method.over_grid:
        click.echo("an estimate, by the lengths of prompts; how much will be generated is a guess:")
        click.echo(f"{done}; the other {len(to_do)} may take about")
        _print_estimate([_estimate(unit, prompts[_key(unit)], plan) for unit in to_do], plan)
    else:
        click.echo(f"{done}; the other {len(to_do)} are left to the method {config.method!r}")
        _print_bound(config, len(to_do), plan)
    _print_spent(plan)


def _key(unit: Unit) -> tuple[str, str]:
    return unit.problem.task_id, unit.config.prompt


def _prompts(config: RunConfig, units: Sequence[Unit]) -> dict[tuple[str, str], Prompt]:
    """Return the prompt of each problem in each wording, as the run would make it."""
    from egcfg.engine import Engine

    engine = Engine(config)  # which opens nothing to word a problem
    wordings = {_key(unit): unit for unit in units}
    return {key: engine.prompt(unit.problem, unit.config.prompt) for key, unit in wordings.items()}


def _print_prompts(
    prompts: dict[tuple[str, str], Prompt], units: Sequence[Unit], signal_tokens: int | None
) -> None:
    """Print the first prompts, the conditional ones where a signal may have so many tokens."""
    from egcfg.usage.estimate import estimate_tokens

    tasks = list(dict.fromkeys(unit.problem.task_id for unit in units))[:TASKS_SHOWN]
    for (task, name), prompt in prompts.items():
        if task in tasks:
            where = f"=== task {task}, prompt {name}"
            text = prompt.unconditional().text
            tokens = estimate_tokens(text)
            _print_prompt(f"{where}: unconditional (about {tokens} tokens)", text)
            if signal_tokens is not None:
                filled = prompt.conditional(SLOT.format(signal_tokens))
                _print_prompt(f"{where}: conditional", filled.text)


def _print_prompt(title: str, text: str) -> None:
    click.echo(printable_line(title))
    click.echo(printable(text if text.endswith("\n") else f"{text}\n"))


def _is_done(unit: Unit, plan: RunPlan) -> bool:
    record = plan.folder.read(str(unit.config), unit.problem.task_id, unit.gamma)
    return record is not None and record.result is not None


def _estimate(unit: Unit, prompt: Prompt, plan: RunPlan) -> Usage:
    from egcfg.usage.estimate import estimate_tokens, estimate_unit

    settings = unit.configurations(plan.settings)[0].settings
    tokens = estimate_tokens(prompt.unconditional().text)
    return estimate_unit(tokens, len(unit.problem.visible_tests), settings)


def _print_estimate(usages: Sequence[Usage], plan: RunPlan) -> None:
    from egcfg.interfaces.usage import Usage
    from egcfg.usage.budget import count_text

    total = sum(usages, Usage())
    prices = plan.budget.prices
    cost = "" if prices is None else f", cost {count_text(prices.cost(total))} with nothing cached"
    click.echo(
        f"  {total.requests} rounds (requests, where the model is behind an endpoint), "
        f"{total.input_tokens} tokens in, {total.output_tokens} tokens out{cost}"
    )


def _print_bound(config: RunConfig, units: int, plan: RunPlan) -> None:
    """Say what a method that decides by itself how much it asks may spend at most."""
    from egcfg.usage.budget import count_text

    if config.tokens_per_task is None:
        click.echo(
            "  nothing is estimated: it decides task by task how often it asks; limit it by "
            "--tokens-per-task N"
        )
        return
    tokens, prices = units * config.tokens_per_task, plan.budget.prices
    # Nobody knows how they are shared between prompts and answers: the dearer of both.
    dearest = 0.0 if prices is None else max(prices.cost(u) for u in _all_of_one_kind(tokens))
    cost = "" if prices is None else f", cost {count_text(dearest)} at most"
    click.echo(
        f"  nothing is estimated: it decides task by task how often it asks; --tokens-per-task "
        f"allows {tokens} tokens in all{cost}; prompt tokens that a cache answers come on top, and "
        "what each last answer goes beyond it"
    )


def _all_of_one_kind(tokens: int) -> list[Usage]:
    from egcfg.interfaces.usage import Usage

    return [Usage(input_tokens=tokens), Usage(output_tokens=tokens)]


def _print_spent(plan: RunPlan) -> None:
    from egcfg.interfaces.usage import Usage
    from egcfg.usage.ledger import FolderLedger

    folder, budget = plan.folder, plan.budget
    spent = FolderLedger(folder.spent_path).others()
    if budget.limited or spent != Usage():
        click.echo(printable_line(f"spent on {folder.path} so far: {budget.describe(spent)}"))
    if budget.prices is None:
        click.echo("for the cost give prices: --prices input=0.2,cached_input=0.1,output=0.6")
