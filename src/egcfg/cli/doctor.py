"""``egcfg doctor``: what is here, what is missing, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from egcfg.cli.logs import log_options
from egcfg.cli.running import run_async
from egcfg.cli.settings import SETTINGS_OF_RUNS, SettingCommand, setting_options
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
@click.option("--fresh", is_flag=True, help="Probe an endpoint even if it was probed today.")
@setting_options(
    without=(
        *(Group.PROBLEMS, Group.GUIDANCE, Group.BUDGET),
        *("max_tokens", "seed", *SETTINGS_OF_RUNS),
    )
)
@log_options
def doctor_command(effective: EffectiveConfig, form: str, fresh: bool) -> int:
    """Say what is installed, how well programs are isolated, and what is broken.

    With --backend, or what belongs to one such as --model or --base-url, the model is opened and
    says what it can do; an endpoint is probed for that, once a day. The exit status is 1 if there
    is a problem.
    """
    import json

    from attrs import asdict

    findings = run_async(_look(effective, fresh))
    if form == "json":
        click.echo(printable_json(json.dumps([asdict(f) for f in findings], indent=2)))
    else:
        _print(findings)
    return FAILED if any(finding.verdict == "problem" for finding in findings) else 0


async def _look(effective: EffectiveConfig, fresh: bool) -> list[diagnosis.Finding]:
    from egcfg.cli import diagnosis

    config = effective.config
    findings = [
        *diagnosis.look_at_machine(),
        *diagnosis.look_at_packages(),
        *await diagnosis.look_at_sandbox(config),
        *diagnosis.look_at_plugins(),
    ]
    if any(effective.origins[n] != DEFAULT_ORIGIN for n in ("backend", *BACKEND_SETTINGS)):
        findings += await diagnosis.look_at_backend(config, fresh=fresh)
    return findings


def _print(findings: Iterable[diagnosis.Finding]) -> None:
    subject = None
    for finding in findings:
        if finding.subject != subject:
            subject = finding.subject
            click.echo(printable_line(subject))
        mark = "" if finding.verdict == "ok" else f"{finding.verdict.value}: "
        click.echo(printable_line(f"  {finding.name:<24} {mark}{finding.detail}"))
