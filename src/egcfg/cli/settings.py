"""Makes click options of the table of settings, and a configuration of what was typed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial, update_wrapper
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import evolve

from egcfg.cli.commands import write_groups
from egcfg.config import load_config
from egcfg.config.load import ConfigSource
from egcfg.config.schema import Group, Setting, settings
from egcfg.plugins.hookspecs import Kind

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = [
    "SETTINGS_OF_RUNS",
    "SettingCommand",
    "SettingOption",
    "grouped_options",
    "setting_options",
]

R = TypeVar("R")

SETTINGS_OF_RUNS = (
    *("results_dir", "concurrency", "schedule", "order", "stop_when_solved"),
    *("executor", "ray_address", "ray_actors", "ray_cpus"),
)
"""What only work on many tasks with results files needs."""


class SettingOption(click.Option):
    """An option that belongs under a heading of ``--help``."""

    def __init__(self, *args: Any, heading: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


class SettingCommand(click.Command):
    """A command whose ``--help`` sorts its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options: the command's own first, then the settings by group."""
        write_groups(formatter, grouped_options(ctx))


def grouped_options(ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
    """Return the options of the command of `ctx` and their help, settings under their headings."""
    groups: dict[str, list[tuple[str, str]]] = {"Options": []}
    for parameter in ctx.command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None:
            heading = parameter.heading if isinstance(parameter, SettingOption) else "Options"
            groups.setdefault(heading, []).append(record)
    # What every command has comes last: help, logging, where the configuration is read from.
    groups["Options"] = groups.pop("Options")
    return groups


def setting_options(
    *, without: Collection[Group | str] = (), defaults: Mapping[str, Any] = MappingProxyType({})
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Add the settings to a command, whose function gets ``effective: EffectiveConfig``.

    Args:
        without: groups, or names of settings, that the command does not use.
        defaults: values by setting that the command has in place of the usual ones.
    """
    used = [
        evolve(each, default=defaults.get(each.name, each.default))
        for each in settings().values()
        if each.group not in without and each.name not in without
    ]

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        def command(
            *args: Any,
            option: tuple[str, ...],
            config_file: Path | None,
            session: Path | None,
            signals: Path | None,
            **parameters: Any,
        ) -> R:
            flags = {s.name: parameters.pop(s.name) for s in used}
            effective = load_config(
                {name: value for name, value in flags.items() if value not in (None, ())},
                option,
                file=config_file,
                session=_session_sources(session, signals),
                defaults=defaults,
            )
            return function(*args, effective=effective, **parameters)

        update_wrapper(command, function)
        decorated: Callable[..., R] = command
        for setting in reversed(used):
            decorated = _option_of(setting)(decorated)
        return _source_options(decorated)

    return decorate


def _option_of(setting: Setting) -> Callable[[Callable[..., R]], Callable[..., R]]:
    flag = f"{setting.flag}/--no-{setting.flag[2:]}" if setting.switch else setting.flag
    return click.option(
        *(part for part in (setting.short, flag) if part),
        setting.name,
        cls=SettingOption,
        heading=setting.group.value,
        default=None,
        multiple=setting.repeatable,
        metavar=None if setting.switch else setting.metavar,
        help=setting.help + _default_text(setting),
        shell_complete=partial(_possible_values, setting),
    )


def _possible_values(
    setting: Setting, _context: click.Context, _option: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Return the values of a setting that begin so, for a shell to complete."""
    from click.shell_completion import CompletionItem

    if setting.name in list(Kind):
        from egcfg.plugins.registry import registry

        components = registry().components(Kind(setting.name)).values()
        items = [CompletionItem(c.name, help=c.summary) for c in components]
    elif setting.metavar in ("FILE", "DIR"):
        return [CompletionItem(begun, type=setting.metavar.lower())]
    else:
        words = [word for word in setting.metavar.split("|") if word.islower()]
        items = [CompletionItem(word) for word in words]
    return [item for item in items if item.value.startswith(begun)]


def _default_text(setting: Setting) -> str:
    if setting.default is None or setting.default == ():
        return ""
    if setting.switch:
        return f"  [{'on' if setting.default else 'off'}]"
    values = setting.default if isinstance(setting.default, tuple) else (setting.default,)
    return f"  [{', '.join(f'{v:g}' if isinstance(v, float) else str(v) for v in values)}]"


def _source_options(function: Callable[..., R]) -> Callable[..., R]:
    for add in reversed(_SOURCES):
        function = add(function)
    return function


_SOURCES = (
    click.option(
        "-o",
        "--option",
        multiple=True,
        metavar="KIND.NAME=VALUE",
        help="an option of the selected backend, tracer, prompt, scorer, dataset, guidance or "
        "method, such as method.n=8 (repeatable)",
    ),
    click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="read settings from this file  [egcfg.toml of the working directory, if there]",
    ),
    click.option(
        "--session",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="a session_config.*.json of the original tool",
    ),
    click.option(
        "--signals",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="a dynamic_signals_params.json of the original tool, or a list of config strings",
    ),
)


def _session_sources(session: Path | None, signals: Path | None) -> list[ConfigSource]:
    from egcfg.runs.legacy import read_session, read_signals

    sources = [read_session(session)] if session is not None else []
    return [*sources, read_signals(signals)] if signals is not None else sources
