"""``egcfg config``: the configuration that holds, and who said so."""

from __future__ import annotations

from collections.abc import Callable

import click

from egcfg.cli.logs import log_options
from egcfg.cli.settings import SettingCommand, setting_options
from egcfg.cli.terminal import printable, printable_json
from egcfg.config import EffectiveConfig
from egcfg.config.render import to_json, to_text, to_toml

__all__ = ["config_command"]

RENDERERS: dict[str, Callable[[EffectiveConfig], str]] = {
    "text": lambda effective: printable(to_text(effective)),
    "json": lambda effective: printable_json(to_json(effective)),
    # What could drive a terminal is escaped in it already, as TOML wants it.
    "toml": to_toml,
}


@click.command("config", cls=SettingCommand)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(RENDERERS)),
    default="text",
    help="text names the source of each value; toml is a file to start from.",
)
@setting_options()
@log_options
def config_command(effective: EffectiveConfig, form: str) -> None:
    """Show the effective configuration and the source of each value.

    Takes the same settings as `egcfg run`, so that a command line can be tried before it is run.
    """
    click.echo(RENDERERS[form](effective), nl=False)
