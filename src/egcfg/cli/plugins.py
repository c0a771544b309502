"""``egcfg plugins``: every component that is installed, and every plugin that is broken.

``egcfg plugins check`` runs the conformance suite of one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from egcfg.cli.logs import log_options
from egcfg.cli.settings import SETTINGS_OF_RUNS, SettingCommand, setting_options
from egcfg.cli.status import FAILED
from egcfg.cli.terminal import printable_json, printable_line
from egcfg.config import EffectiveConfig
from egcfg.config.schema import Group

if TYPE_CHECKING:
    from egcfg.plugins.hookspecs import Component
    from egcfg.plugins.registry import PluginReport
    from egcfg.testing.checking import CheckResult

__all__ = ["plugins_command"]


@click.group("plugins", invoke_without_command=True)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@log_options
@click.pass_context
def plugins_command(context: click.Context, form: str) -> None:
    """List components of each kind, what cannot be opened here, and broken plugins."""
    if context.invoked_subcommand is not None:
        return
    from egcfg.plugins.registry import registry

    reports = registry().reports
    if form == "json":
        import json

        click.echo(json.dumps([_entry(report) for report in reports], indent=2))
        return
    _print_listing(reports)


def _entry(report: PluginReport) -> dict[str, Any]:
    from egcfg.errors import summarize
    from egcfg.plugins.availability import why_unavailable

    return {
        "plugin": report.name,
        "distribution": report.distribution,
        "version": report.version,
        "builtin": report.builtin,
        "error": None if report.error is None else summarize(report.error),
        "observes": report.observes,
        "components": [
            {
                "kind": c.kind.value,
                "name": c.name,
                "summary": c.summary,
                "extra": c.extra,
                "unavailable": why_unavailable(c),
            }
            for c in report.components
        ],
    }


def _print_listing(reports: Iterable[PluginReport]) -> None:
    from egcfg.errors import summarize
    from egcfg.plugins.availability import why_unavailable
    from egcfg.plugins.hookspecs import Kind

    reports = list(reports)
    rows = [(c, report) for report in reports for c in report.components]
    width = max((len(component.name) for component, _ in rows), default=0)
    for kind in Kind:
        click.echo(f"{kind.value}s")
        for component, report in rows:
            if component.kind is kind:
                line = f"{component.name:<{width}}  {component.summary}{_source(report)}"
                click.echo(f"  {printable_line(line)}")
                if (reason := why_unavailable(component)) is not None:
                    note = f"{'':<{width}}  cannot be opened here: {reason}"
                    click.echo(f"  {printable_line(note)}")
    if observing := [report for report in reports if report.observes]:
        click.echo("observers of runs")
        for report in observing:
            click.echo(f"  {printable_line(f'{report.name}{_source(report)}')}")
    broken = [report for report in reports if report.error is not None]
    if broken:
        click.echo("broken (what they would bring cannot be selected)")
    for report in broken:
        cause = summarize(report.error) if report.error else ""
        click.echo(f"  {printable_line(f'{report.name}{_source(report)}  {cause}')}")


def _source(report: PluginReport) -> str:
    return "" if report.builtin else f"  [{report.distribution} {report.version}]"


@plugins_command.command("check", cls=SettingCommand)
@click.argument("name", metavar="[KIND.]NAME")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@setting_options(
    without=(
        *(Group.PROBLEMS, Group.GUIDANCE, Group.BUDGET),
        *("backend", "max_tokens", "seed", *SETTINGS_OF_RUNS),
    )
)
@log_options
def check_command(effective: EffectiveConfig, name: str, form: str) -> int:
    """Check a component: run the conformance suite of its kind, and say what to mend.

    NAME is what it is registered as; KIND.NAME picks one where several kinds have that name. Its
    options are given as for a run, such as -o dataset.path=FILE, or --model for a backend. The exit
    status is 1 if a check failed.
    """
    import json

    from attrs import asdict

    from egcfg.config.components import open_component
    from egcfg.plugins.registry import component_class
    from egcfg.testing.checking import Verdict, check_component

    found: dict[str, list[CheckResult]] = {}
    for component in _components_named(name):
        kind, known_as = component.kind, component.name
        results = check_component(
            kind,
            partial(open_component, effective.config, kind, known_as),
            component_class(kind, known_as),
        )
        found[f"{kind}.{known_as}"] = made = []
        if form == "text":
            click.echo(f"{kind} {known_as}")
        for result in results:
            made.append(result)
            if form == "text":
                _print_result(result)
    every = [result for results in found.values() for result in results]
    count = {verdict: sum(r.verdict is verdict for r in every) for verdict in Verdict}
    if form == "json":
        listed = {each: [asdict(r) for r in results] for each, results in found.items()}
        click.echo(printable_json(json.dumps(listed, indent=2)))
    else:
        skipped = f", {count[Verdict.SKIPPED]} skipped" if count[Verdict.SKIPPED] else ""
        click.echo(f"{count[Verdict.OK]} ok, {count[Verdict.FAILED]} failed{skipped}")
    return FAILED if count[Verdict.FAILED] else 0


def _components_named(name: str) -> list[Component]:
    """Return the components that a user means.

    Raises:
        UsageError: there is none of that name, or its plugin is broken.
    """
    from egcfg.errors import UnknownNameError
    from egcfg.plugins.hookspecs import Kind
    from egcfg.plugins.registry import registry

    kind, _, rest = name.partition(".")
    if rest and kind in list(Kind):
        return [registry().get(Kind(kind), rest)]
    found = [c for report in registry().reports for c in report.components if c.name == name]
    if not found:
        known = {each for of_kind in Kind for each in registry().components(of_kind)}
        registry().refuse_broken(name, known, f"no component named {name!r} is here")
        raise UnknownNameError("component", name, known)
    return found


def _print_result(result: CheckResult) -> None:
    from egcfg.testing.checking import Verdict

    said = result.rule if result.verdict is Verdict.OK else result.name
    click.echo(printable_line(f"  {result.verdict:<8} {said}"))
    if result.verdict is not Verdict.OK:
        if result.verdict is Verdict.FAILED:
            click.echo(printable_line(f"           {result.rule}"))
        click.echo(printable_line(f"           {result.detail}"))
