"""``egcfg doctor``: what is here, what is missing, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from egcfg.cli.logs import log_options
from egcfg.cli.settings import SettingCommand, setting_options
from egcfg.cli.status import FAILED
from egcfg.cli.terminal import printable_json, printable_line
from egcfg.config import EffectiveConfig
from egcfg.config.load import DEFAULT_ORIGIN
from egcfg.config.schema import BACKEND_SETTINGS, Group

if TYPE_CHECKING:
    from egcfg.cli import diagnosis

__all__ = ["doctor_command"]


@click.command("doctor", cls=SettingCommand)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@setting_options(
    without=(
        *(Group.PROBLEMS, Group.GUIDANCE, Group.BUDGET),
        *("max_tokens", "seed", "results_dir", "stop_when_solved"),
    )
)
@log_options
def doctor_command(effective: EffectiveConfig, form: str) -> int:
    """Say what is installed, how well programs are isolated, and what is broken.

    With --backend, or what belongs to one such as --model or --base-url, the model is opened and
    says what it can do; an endpoint is probed for that. The exit status is 1 if there is a problem.
    """
    import json

    from attrs import asdict

    from egcfg.cli import diagnosis

    findings = [
        *diagnosis.look_at_machine(),
        *diagnosis.look_at_packages(),
        *diagnosis.look_at_sandbox(effective.config),
        *diagnosis.look_at_plugins(),
    ]
    if any(effective.origins[n] != DEFAULT_ORIGIN for n in ("backend", *BACKEND_SETTINGS)):
        findings += diagnosis.look_at_backend(effective.config)
    if form == "json":
        click.echo(printable_json(json.dumps([asdict(f) for f in findings], indent=2)))
    else:
        _print(findings)
    return FAILED if any(f.verdict is diagnosis.Verdict.PROBLEM for f in findings) else 0


def _print(findings: Iterable[diagnosis.Finding]) -> None:
    subject = None
    for finding in findings:
        if finding.subject != subject:
            subject = finding.subject
            click.echo(printable_line(subject))
        mark = "" if finding.verdict == "ok" else f"{finding.verdict.value}: "
        click.echo(printable_line(f"  {finding.name:<24} {mark}{finding.detail}"))
