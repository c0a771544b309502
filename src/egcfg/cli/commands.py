"""The group of commands: imported one by one, with ``run`` as the one that need not be named.

Its own help imports none of them: what it says about them is data.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

from egcfg.errors import did_you_mean

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["COMMANDS", "DEFAULT_COMMAND", "RUN_OPTIONS", "CommandGroup", "write_groups"]

DEFAULT_COMMAND = "run"

COMMANDS = {
    "run": "Solve the problems of a data set over a grid of settings, and judge the solutions.",
    "solve": "Solve the problem that DESCRIPTION words, or the function of a stub; print the code.",
    "score": "Judge the completions in FILE (.jsonl or .jsonl.gz) and report pass@k.",
    "monitor": "Print the table of a results folder, or of any part of one.",
    "compare": "Compare methods on the same tasks: what each solves per token.",
    "show": "Show step by step how a result came about.",
    "report": "Write a results folder, or any part of one, as one HTML file that opens offline.",
    "view": "Serve the page of a results folder to the browser of this machine, until Ctrl-C.",
    "trajectories": "Write the recorded results of DIR as training data, one JSON object a line.",
    "export": "Write the programs of one row of a results folder as another harness's samples.",
    "lm-eval": "Run lm-evaluation-harness with egcfg as the model.",
    "published": "Print published figures to compare with, and who saw which tests.",
    "trace": "Run FILE (or - for standard input) in the sandbox and show its trace.",
    "datasets": "List data sets and protocols; with NAME (or a file), show its first problems.",
    "plugins": "List components of each kind, what cannot be opened here, and broken plugins.",
    "doctor": "Say what is installed, how well programs are isolated, and what is broken.",
    "cache": "List models that were converted and kept, newest first; with --clear, delete them.",
    "config": "Show the effective configuration and the source of each value.",
}
"""The summary of each command, the first sentence of its own help, in the order of --help. Each is
the function of that name in the module of that name."""

RUN_OPTIONS = os.path.join(os.path.dirname(__file__), "run_options.txt")
"""What `egcfg run` says about its options; written by ``docs/write_cli_reference.py``."""

LOG_FLAGS = frozenset({"-q", "--quiet", "--debug"})

EXAMPLES = (
    ("egcfg --limit 3", "the embedded model on three problems, unguided and guided"),
    ("egcfg --model FOLDER --dataset humaneval -g 0 -g 1 -g 3", "one model, three strengths"),
    ("egcfg --backend fireworks --model NAME --tracer minimal", "a model behind an endpoint"),
    ('egcfg solve "Square a number" --test "assert f(3) == 9"', "one problem, code on stdout"),
    ("egcfg score samples.jsonl --dataset humaneval", "completions of any model: pass@k"),
    ("egcfg monitor results", "the table of a results folder"),
    ("egcfg compare results", "what each method solves per token, with intervals"),
)


class CommandGroup(click.Group):
    """Finds a command by importing its module; arguments that name none belong to ``run``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's interface
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(
            importlib.import_module(f"egcfg.cli.{name}"), f"{name}_command"
        )
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name.

        Raises:
            click.UsageError: there is none of that name.
        """
        if args[0] not in COMMANDS:
            hint = did_you_mean(args[0], COMMANDS)
            raise click.UsageError(f"no command named {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command first, where flags come before it or no command is named."""
        if not args:
            args = ["--help"]
        flags = []
        rest = list(args)
        while rest and rest[0] in LOG_FLAGS:
            flags.append(rest.pop(0))
        if rest and rest[0] in COMMANDS:
            args = [rest[0], *flags, *rest[1:]]
        elif args and (not rest or _is_option_of_run(rest[0])):
            args = [DEFAULT_COMMAND, *args]
        elif rest:
            args = rest
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return commands and flags that begin so; those of ``run``, too, which none need name."""
        items = super().shell_complete(ctx, incomplete)
        command = self.get_command(ctx, DEFAULT_COMMAND)
        if command is not None and incomplete.startswith("-"):
            items += command.shell_complete(click.Context(command, ctx), incomplete)
        return items

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a help that teaches: the main job first, with examples."""
        formatter.write_usage("egcfg", "[run] [OPTIONS]  |  COMMAND [OPTIONS]")
        self.format_help_text(ctx, formatter)
        _write_examples(formatter, EXAMPLES)
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        formatter.write_paragraph()
        formatter.write_text("Options of the main job, `egcfg run`:")
        write_groups(formatter, _run_options())
        formatter.write_paragraph()
        formatter.write_text(
            "Every setting is also a key of egcfg.toml and a variable: --top-p is top_p and "
            "EGCFG_TOP_P. `egcfg config` shows what holds, and why. "
            "API keys are read from the environment only. "
            'Commands, flags and names are completed after eval "$(_EGCFG_COMPLETE=bash_source '
            'egcfg)" (or zsh_source, fish_source). '
            "`egcfg --version` says which egcfg this is."
        )


def write_groups(
    formatter: click.HelpFormatter, groups: Mapping[str, Iterable[tuple[str, str]]]
) -> None:
    """Write options, each with its help, under the headings of their groups."""
    for heading, options in groups.items():
        if rows := list(options):
            with formatter.section(heading):
                formatter.write_dl(rows, col_max=34)


def _run_options() -> dict[str, list[tuple[str, str]]]:
    """Return the options of ``egcfg run``, each with its help, by heading."""
    groups: dict[str, list[tuple[str, str]]] = {}
    rows: list[tuple[str, str]] = []
    with open(RUN_OPTIONS, encoding="utf-8") as file:
        for line in file:
            flags, is_option, text = line.rstrip("\n").partition("\t")
            if is_option:
                rows.append((flags, text))
            else:
                rows = groups.setdefault(flags, [])
    return groups


def _is_option_of_run(argument: str) -> bool:
    return argument.startswith("-") and argument not in ("-h", "--help", "--version", "--")


def _write_examples(formatter: click.HelpFormatter, examples: Iterable[tuple[str, str]]) -> None:
    with formatter.section("Examples"):
        for command, meaning in examples:
            formatter.write(f"{'':>{formatter.current_indent}}{command}\n")
            formatter.write(f"{'':>{formatter.current_indent}}    {meaning}\n")
