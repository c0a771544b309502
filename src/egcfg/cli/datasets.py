"""``egcfg datasets``: the data sets, or the problems of one."""

from __future__ import annotations

import click

from egcfg.cli.logs import log_options
from egcfg.cli.settings import SettingCommand, setting_options
from egcfg.cli.terminal import printable, printable_line
from egcfg.config import EffectiveConfig
from egcfg.config.schema import Group

__all__ = ["datasets_command"]

SHOWN_BY_DEFAULT = 5


@click.command("datasets", cls=SettingCommand)
@click.argument("name", required=False)
@setting_options(
    without=(
        *(Group.MODEL, Group.GUIDANCE, Group.EXECUTION, Group.BUDGET),
        *("dataset", "protocol", "scorer"),
    ),
)
@log_options
def datasets_command(effective: EffectiveConfig, name: str | None) -> None:
    """List data sets and protocols; with NAME (or a file), show its first problems.

    Hidden tests are counted, not shown.
    """
    import attrs

    from egcfg.config.protocols import PROTOCOLS
    from egcfg.datasets.selection import open_problems
    from egcfg.plugins.hookspecs import Kind
    from egcfg.plugins.registry import registry

    if name is None:
        components = registry().components(Kind.DATASET)
        width = max(map(len, components))
        for component in components.values():
            click.echo(printable_line(f"{component.name:<{width}}  {component.summary}"))
        click.echo("a file: --dataset FILE.jsonl", err=True)
        click.echo("protocols (egcfg run --protocol NAME):")
        width = max(map(len, PROTOCOLS))
        for name, protocol in PROTOCOLS.items():
            click.echo(f"{name:<{width}}  {protocol.summary}")
        return
    problems = open_problems(attrs.evolve(effective.config, dataset=name, scorer=None))
    config = effective.config
    shown = problems if config.limit or config.task else problems[:SHOWN_BY_DEFAULT]
    for problem in shown:
        click.echo(printable_line(f"task {problem.task_id}: {problem.entry_point or 'program'}"))
        for line in problem.description.strip().splitlines():
            click.echo(f"    {printable(line)}")
        for test in problem.visible_tests:
            click.echo(f"  visible: {printable_line(test.name)}")
        click.echo(f"  hidden tests: {len(problem.hidden_tests)}; scorer: {problem.scorer}")
    if len(shown) < len(problems):
        click.echo(f"{len(shown)} of {len(problems)} problems; more with --limit N", err=True)
