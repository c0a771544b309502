"""Says which components cannot be opened here, and what to do; nothing heavy is imported for it."""

from __future__ import annotations

import importlib.util
import os
from importlib import metadata

from packaging.requirements import Requirement

from egcfg.plugins.hookspecs import Component

__all__ = ["why_unavailable"]


def why_unavailable(component: Component) -> str | None:
    """Return why a component cannot be opened here, and the next step; None: nothing is known.

    What its extra asks for and its environment variables are looked at, and whether its module is
    there; whether it then works is only known when it is opened (`egcfg plugins check`).
    """
    if component.extra is not None and (missing := _missing_packages(component.extra)):
        return f"lacks {', '.join(missing)}; run: pip install '{component.extra}'"
    module = component.target.partition(":")[0]
    try:
        found = importlib.util.find_spec(module)
    except Exception as error:  # noqa: BLE001 - the package's own code runs
        return f"its package does not import: {type(error).__name__}: {error}"
    if found is None:
        return f"there is no module {module}; its authors should mend the component's target"
    unset = [name for name in component.variables if not os.environ.get(name, "").strip()]
    if unset:
        return f"set the environment variable {' and '.join(unset)}"
    return None


def _missing_packages(extra: str) -> list[str]:
    """Return which packages of ``distribution[extra,...]`` are not installed."""
    wanted = Requirement(extra)
    try:
        requirements = metadata.requires(wanted.name) or []
    except metadata.PackageNotFoundError:
        return [wanted.name]
    missing = []
    for requirement in map(Requirement, requirements):
        of_extra = any(
            requirement.marker is not None and requirement.marker.evaluate({"extra": name})
            for name in wanted.extras
        )
        if of_extra and not _installed(requirement.name):
            missing.append(requirement.name)
    return missing


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
