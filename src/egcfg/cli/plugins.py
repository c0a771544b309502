"""``egcfg plugins``: every component that is installed, and every plugin that is broken."""

from __future__ import annotations

from typing import Any

import click

from egcfg.cli.logs import log_options
from egcfg.cli.terminal import printable_line

__all__ = ["plugins_command"]


@click.command("plugins")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@log_options
def plugins_command(form: str) -> None:
    """List backends, tracers, prompts, scorers and data sets, and broken plugins."""
    from egcfg.errors import summarize
    from egcfg.plugins.hookspecs import Kind
    from egcfg.plugins.registry import PluginReport, registry

    reports = registry().reports

    def entry(report: PluginReport) -> dict[str, Any]:
        return {
            "plugin": report.name,
            "distribution": report.distribution,
            "version": report.version,
            "builtin": report.builtin,
            "error": None if report.error is None else summarize(report.error),
            "components": [
                {"kind": c.kind.value, "name": c.name, "summary": c.summary, "extra": c.extra}
                for c in report.components
            ],
        }

    if form == "json":
        import json

        click.echo(json.dumps([entry(report) for report in reports], indent=2))
        return
    rows = [(c, report) for report in reports for c in report.components]
    width = max((len(component.name) for component, _ in rows), default=0)
    for kind in Kind:
        click.echo(f"{kind.value}s")
        for component, report in rows:
            if component.kind is kind:
                source = "" if report.builtin else f"  [{report.distribution} {report.version}]"
                line = f"{component.name:<{width}}  {component.summary}{source}"
                click.echo(f"  {printable_line(line)}")
    broken = [report for report in reports if report.error is not None]
    if broken:
        click.echo("broken (what they would bring cannot be selected)")
    for report in broken:
        cause = summarize(report.error) if report.error else ""
        line = f"{report.name}  [{report.distribution} {report.version}]  {cause}"
        click.echo(f"  {printable_line(line)}")
