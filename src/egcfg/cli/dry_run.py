"""``egcfg run --dry-run``: the first prompts and what a run may come to, with no model opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from attrs import define, field

from egcfg.cli.terminal import printable, printable_line
from egcfg.errors import UsageError

if TYPE_CHECKING:
    from egcfg.config import RunConfig
    from egcfg.estimate import Scoring
    from egcfg.interfaces.backend import ChatMessage, Usage
    from egcfg.interfaces.problem import Problem
    from egcfg.interfaces.prompt import Prompt
    from egcfg.offline_model import OfflineTokenizer
    from egcfg.runs.grid import Unit
    from egcfg.runs.store import ResultsFolder
    from egcfg.usage.budget import Budget

__all__ = ["dry_run"]

TASKS_SHOWN = 2
SLOT = "[... the signal: candidates and what happened when they ran, at most {} tokens ...]"


@define
class _Words:
    """Words problems as a run would, as far as that can be done without the model.

    Attributes:
        tokenizer: the model's own, if it is on this machine.
        guessed_chat: whether a chat was shown without the model's template.
    """

    config: RunConfig
    tokenizer: OfflineTokenizer | None
    guessed_chat: bool = False
    _counts: dict[tuple[str, str], int] = field(factory=dict, init=False)

    def prompt(self, name: str, problem: Problem) -> Prompt:
        """Return the prompt of a problem by the prompt builder of that name."""
        from egcfg.assembly import open_component
        from egcfg.plugins.hookspecs import Kind

        prompt: Prompt = open_component(self.config, Kind.PROMPT, name).build(problem, self._chat)
        return prompt

    def count(self, text: str) -> int:
        """Return how many tokens a text takes, by the tokenizer or by its length."""
        from egcfg.estimate import estimate_tokens

        return self.tokenizer.count_tokens(text) if self.tokenizer else estimate_tokens(text)

    def tokens(self, unit: Unit) -> int:
        """Return how many tokens the unconditional prompt of a unit takes."""
        key = (unit.config.prompt, unit.problem.task_id)
        if key not in self._counts:
            self._counts[key] = self.count(self.prompt(*self._named(unit)).unconditional())
        return self._counts[key]

    def _named(self, unit: Unit) -> tuple[str, Problem]:
        return unit.config.prompt, unit.problem

    def _chat(self, messages: Sequence[ChatMessage]) -> str:
        if self.tokenizer is not None:
            return self.tokenizer.render_chat(messages)
        self.guessed_chat = True
        return "".join(f"<{m['role']}>\n{m['content']}\n" for m in messages) + "<assistant>\n"


def dry_run(config: RunConfig, problems: Sequence[Problem]) -> None:
    """Print the first prompts and the estimate.

    Raises:
        UsageError: the run itself would be refused.
        RunError: the results folder cannot be read.
    """
    from egcfg.assembly import model_label, offline_model
    from egcfg.runs.plan import plan_run

    model = model_label(config)
    if model is None:
        raise UsageError(
            f"only the opened backend {config.backend!r} would know which model it runs; name the "
            "model with --model for a --dry-run"
        )
    plan = plan_run(config, problems, model)
    offline = offline_model(config)
    words = _Words(config, None if offline is None else offline.tokenizer())
    units = list(plan.grid)
    _print_prompts(words, units)
    open_units = [unit for unit in units if not _is_done(unit, plan.folder)]
    counted = "counted by the model's tokenizer" if words.tokenizer else "estimated from lengths"
    click.echo(f"prompt tokens are {counted}; how much will be generated is a guess:")
    if words.guessed_chat:
        click.echo("the model's chat template is not at hand, so chats are shown without it")
    done = len(units) - len(open_units)
    click.echo(
        f"{len(units)} units, {done} of them done; the other {len(open_units)} may take about"
    )
    remote = None if offline is None else offline.remote
    for scoring, label in _ways(remote):
        usages = [
            _estimate(words, unit, config, scoring, remote=remote is not False)
            for unit in open_units
        ]
        _print_estimate(label, usages, plan.budget)
    _print_spent(plan.folder, plan.budget)


def _print_prompts(words: _Words, units: Sequence[Unit]) -> None:
    prompts = dict.fromkeys(unit.config.prompt for unit in units)
    problems = list({unit.problem.task_id: unit.problem for unit in units}.values())
    guided = any(unit.gamma != 0 for unit in units)
    for problem in problems[:TASKS_SHOWN]:
        for name in prompts:
            prompt = words.prompt(name, problem)
            where = f"task {problem.task_id}, prompt {name}"
            _print_prompt(f"{where}: unconditional", prompt.unconditional(), words)
            if guided:
                slot = SLOT.format(words.config.signal_tokens)
                _print_prompt(f"{where}: conditional", prompt.conditional(slot), None)


def _print_prompt(title: str, text: str, words: _Words | None) -> None:
    tokens = "" if words is None else f" ({words.count(text)} tokens)"
    click.echo(printable_line(f"=== {title}{tokens}"))
    click.echo(printable(text if text.endswith("\n") else f"{text}\n"))


def _is_done(unit: Unit, folder: ResultsFolder) -> bool:
    record = folder.read(str(unit.config), unit.problem.task_id, unit.gamma)
    return record is not None and record.result is not None


def _ways(remote: bool | None) -> list[tuple[Scoring, str]]:
    """Return how the backend may score, with a label each; only a probe of a server would tell."""
    from egcfg.estimate import Scoring

    if remote is False:
        return [(Scoring.LINES, "on this machine")]
    return [
        (Scoring.LINES, "where the server echoes log-probabilities"),
        (Scoring.TOKENS, "where it does not"),
    ]


def _estimate(
    words: _Words, unit: Unit, config: RunConfig, scoring: Scoring, *, remote: bool
) -> Usage:
    from egcfg.estimate import SHORT_TRACE_TOKENS, TRACE_TOKENS, estimate_unit
    from egcfg.runs.plan import base_settings

    return estimate_unit(
        words.tokens(unit),
        len(unit.problem.visible_tests),
        unit.config.settings(base_settings(config), gamma=unit.gamma),
        scoring,
        remote=remote,
        trace_tokens=SHORT_TRACE_TOKENS if config.tracer == "minimal" else TRACE_TOKENS,
    )


def _print_estimate(label: str, usages: Sequence[Usage], budget: Budget) -> None:
    from egcfg.estimate import WITHIN
    from egcfg.interfaces.backend import Usage
    from egcfg.usage.budget import count_text

    total = sum(usages, Usage())
    parts = [f"{total.requests} requests"] if total.requests else []
    parts += [f"{total.input_tokens} tokens in", f"{total.output_tokens} tokens out"]
    if budget.prices is not None:
        cached = " (with nothing cached)" if total.requests else ""
        parts.append(f"cost {count_text(budget.prices.cost(total))}{cached}")
    click.echo(f"  {label}: {', '.join(parts)} - each within a factor of {WITHIN:g}")


def _print_spent(folder: ResultsFolder, budget: Budget) -> None:
    from egcfg.interfaces.backend import Usage
    from egcfg.usage.ledger import FolderLedger

    spent = FolderLedger(folder.spent_path).others()
    if budget.limited or spent != Usage():
        click.echo(printable_line(f"spent on {folder.path} so far: {budget.describe(spent)}"))
    if budget.prices is None:
        click.echo("for the cost give prices: --prices input=0.2,cached_input=0.1,output=0.6")
