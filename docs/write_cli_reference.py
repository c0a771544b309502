"""Writes docs/cli.md, and what `egcfg --help` says of `egcfg run`, from the commands' own help.

A test checks that both are current.

usage: python docs/write_cli_reference.py
"""

from __future__ import annotations

from pathlib import Path

import click

import egcfg.cli
from egcfg.cli.commands import COMMANDS, DEFAULT_COMMAND, RUN_OPTIONS
from egcfg.cli.program import egcfg as program
from egcfg.cli.settings import grouped_options

REFERENCE = Path(__file__).parent / "cli.md"
WIDTH = 100


def reference() -> str:
    """Return the text of docs/cli.md."""
    statuses = (egcfg.cli.__doc__ or "").partition("Exit statuses:")[2].strip()
    parts = [
        "# Command line",
        "<!-- Written by docs/write_cli_reference.py; do not edit. -->",
        _help(program, "egcfg"),
        "## Exit statuses",
        statuses,
    ]
    with click.Context(program, info_name="egcfg") as context:
        for name in COMMANDS:
            command = program.get_command(context, name)
            assert command is not None, name
            parts += [f"## egcfg {name}", _help(command, name, context)]
            if isinstance(command, click.Group):
                within = click.Context(command, info_name=name, parent=context)
                for part, each in command.commands.items():
                    parts += [f"## egcfg {name} {part}", _help(each, part, within)]
    return "\n\n".join(parts) + "\n"


def run_options() -> str:
    """Return the text of the file that `egcfg --help` takes the options of `egcfg run` from."""
    with click.Context(program, info_name="egcfg") as context:
        command = program.get_command(context, DEFAULT_COMMAND)
        assert command is not None
        groups = grouped_options(click.Context(command, info_name=DEFAULT_COMMAND, parent=context))
    return "".join(
        heading + "\n" + "".join(f"{flags}\t{text}\n" for flags, text in options)
        for heading, options in groups.items()
    )


def _help(command: click.Command, name: str, parent: click.Context | None = None) -> str:
    context = click.Context(
        command,
        info_name=name,
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
    )
    return f"```\n{command.get_help(context).strip()}\n```"


if __name__ == "__main__":
    Path(RUN_OPTIONS).write_text(run_options(), encoding="utf-8")
    REFERENCE.write_text(reference(), encoding="utf-8")
