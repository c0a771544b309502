"""What ``egcfg doctor`` looks at, one function per subject; nothing is printed here."""

from __future__ import annotations

import enum
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata

from attrs import asdict, evolve, fields_dict, frozen

from egcfg.config import RunConfig, SandboxMode
from egcfg.config.components import check_names, component_in_use, configured_sandbox
from egcfg.config.schema import OptionValue
from egcfg.errors import EgcfgError, SandboxError, summarize
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import options_class, registry
from egcfg.sandbox import LAYERS, Level

__all__ = [
    "Finding",
    "Verdict",
    "look_at_backend",
    "look_at_machine",
    "look_at_packages",
    "look_at_plugins",
    "look_at_sandbox",
]


class Verdict(enum.StrEnum):
    """What a finding means for the user."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@frozen
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: heading that it belongs under.
        name: what was looked at.
        detail: what was found, and what to do about it.
        verdict: what it means.
    """

    subject: str
    name: str
    detail: str
    verdict: Verdict = Verdict.OK


def look_at_machine() -> Iterator[Finding]:
    """Say where egcfg runs."""
    subject = "machine"
    yield Finding(subject, "egcfg", metadata.version("egcfg"))
    yield Finding(subject, "python", f"{platform.python_version()} ({sys.executable})")
    yield Finding(subject, "platform", platform.platform())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding(subject, "cores", str(cores))


def look_at_packages() -> Iterator[Finding]:
    """Say which of the packages are installed that egcfg and its extras ask for."""
    for requirement in metadata.requires("egcfg") or ():
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", requirement)
        if name == "egcfg" or (extra and extra[1] == "all"):
            continue  # an extra made of extras
        subject = f"packages of egcfg[{extra[1]}]" if extra else "packages"
        try:
            yield Finding(subject, name, metadata.version(name))
        except metadata.PackageNotFoundError:
            what = f"egcfg[{extra[1]}]" if extra else "egcfg"
            yield Finding(
                subject,
                name,
                f"not installed; run: pip install '{what}'",
                Verdict.NOTE if extra else Verdict.PROBLEM,
            )


def look_at_plugins() -> Iterator[Finding]:
    """Say which plugins work."""
    for report in registry().reports:
        name = f"{report.name} ({report.distribution} {report.version})"
        if report.error is not None:
            detail = f"broken: {summarize(report.error)}; fix or uninstall it"
            yield Finding("plugins", name, detail, Verdict.PROBLEM)
        else:
            yield Finding("plugins", name, ", ".join(c.name for c in report.components))


async def look_at_backend(config: RunConfig, *, fresh: bool = False) -> list[Finding]:
    """Open the backend and say what it can do; one that cannot be opened is a finding.

    Args:
        config: names the backend.
        fresh: whether it is to find that out anew; for a backend with an option ``fresh``.
    """
    subject = f"backend {config.backend}"
    try:
        check_names(config)
        if fresh and "fresh" in fields_dict(options_class(Kind.BACKEND, config.backend)):
            option = OptionValue(
                kind=Kind.BACKEND, component=config.backend, name="fresh", value=True
            )
            config = evolve(config, options=(*config.options, option))
        backend = component_in_use(config, Kind.BACKEND, config.backend)
        try:
            await backend.call("open")
            return _abilities(backend, subject)
        finally:
            await backend.call("close")
            backend.close()
    except EgcfgError as error:
        return [Finding(subject, "model", str(error), Verdict.PROBLEM)]


def _abilities(backend: OpenComponent, subject: str) -> list[Finding]:
    """Say what an open backend can do; one with `findings` of its own says it in words."""
    model = backend.instance
    findings = [Finding(subject, "model", model.model_name)]
    if (own := getattr(model, "findings", None)) is not None:
        return [*findings, *(Finding(subject, name, detail) for name, detail in own())]
    return findings + [
        Finding(subject, name, _capability(name, value))
        for name, value in asdict(model.capabilities).items()
    ]


def _capability(name: str, value: object) -> str:
    if value is None:
        return "all tokens" if name == "top_k" else "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


async def look_at_sandbox(config: RunConfig) -> list[Finding]:
    """Say which isolation layers hold here, and whether known programs are judged right."""
    # Opened without strictness, so that what is missing can be listed.
    strict = config.sandbox is SandboxMode.STRICT
    missing_is = Verdict.PROBLEM if strict else Verdict.NOTE
    found: list[tuple[str, str, Verdict]] = []
    try:
        async with configured_sandbox(evolve(config, sandbox=SandboxMode.AUTO)) as sandbox:
            report = await sandbox.report()
            weak = report.level in (Level.BASIC, Level.NONE)
            found.append(("isolation", report.level.value, Verdict.PROBLEM if weak else Verdict.OK))
            for layer in LAYERS:
                state = report.layers.get(layer, "missing")
                found.append((layer, state, missing_is if layer in report.missing else Verdict.OK))
            packages = ", ".join(report.packages) or "none"
            found.append(("packages for programs", packages, Verdict.OK))
            found.append(("verdicts", "known programs are judged right", Verdict.OK))
            found.append(("limits of time", report.limits_of_time, Verdict.OK))
    except SandboxError as error:
        found.append(("isolation", str(error), Verdict.PROBLEM))
    return [Finding("sandbox", *finding) for finding in found]
