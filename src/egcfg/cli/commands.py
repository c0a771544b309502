"""The group of commands: imported one by one, with ``run`` as the one that need not be named."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

import click

from egcfg.cli.logs import LOG_FLAGS
from egcfg.cli.settings import write_setting_groups
from egcfg.errors import did_you_mean

__all__ = ["DEFAULT_COMMAND", "CommandGroup"]

DEFAULT_COMMAND = "run"

# In the order of --help. Each is the function of that name in the module of that name.
COMMANDS = (
    "run",
    "solve",
    "score",
    "monitor",
    "trace",
    "datasets",
    "plugins",
    "doctor",
    "config",
)

EXAMPLES = (
    ("egcfg --limit 3", "the embedded model on three problems, unguided and guided"),
    ("egcfg --model FOLDER --dataset humaneval -g 0 -g 1 -g 3", "one model, three strengths"),
    ("egcfg --backend fireworks --model NAME --tracer minimal", "a model behind an endpoint"),
    ('egcfg solve "Square a number" --test "assert f(3) == 9"', "one problem, code on stdout"),
    ("egcfg score samples.jsonl --dataset humaneval", "completions of any model: pass@k"),
    ("egcfg monitor results", "the table of a results folder"),
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
        command: click.Command = getattr(
            importlib.import_module(f"egcfg.cli.{cmd_name}"), f"{cmd_name}_command"
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
        """Put the command first, where flags stand before it or no command is named."""
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

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a help that teaches: the main job first, with examples."""
        formatter.write_usage("egcfg", "[run] [OPTIONS]  |  COMMAND [OPTIONS]")
        self.format_help_text(ctx, formatter)
        _write_examples(formatter, EXAMPLES)
        with formatter.section("Commands"):
            commands = [(name, self.get_command(ctx, name)) for name in COMMANDS]
            formatter.write_dl(
                [(name, command.get_short_help_str(90)) for name, command in commands if command]
            )
        formatter.write_paragraph()
        formatter.write_text("Options of the main job, `egcfg run`:")
        run = self.get_command(ctx, DEFAULT_COMMAND)
        if run is not None:
            write_setting_groups(click.Context(run, info_name="run"), formatter)
        formatter.write_paragraph()
        formatter.write_text(
            "Every setting is also a key of egcfg.toml and a variable: --top-p is top_p and "
            "EGCFG_TOP_P. `egcfg config` shows what holds, and why. "
            "API keys are read from the environment only. "
            "`egcfg --version` says which egcfg this is."
        )


def _is_option_of_run(argument: str) -> bool:
    return argument.startswith("-") and argument not in ("-h", "--help", "--version", "--")


def _write_examples(formatter: click.HelpFormatter, examples: Iterable[tuple[str, str]]) -> None:
    with formatter.section("Examples"):
        for command, meaning in examples:
            formatter.write(f"{'':>{formatter.current_indent}}{command}\n")
            formatter.write(f"{'':>{formatter.current_indent}}    {meaning}\n")
