"""Loads well; each of its components fails in a way of its own when it is selected."""

from egcfg import Component, Kind, hookimpl

NAMES = {
    "needs-extra": "egcfg_late_failures.needs_extra:Tracer",
    "own-bug": "egcfg_late_failures.own_bug:Tracer",
    "no-module": "egcfg_late_failures.nowhere:Tracer",
    "no-class": "egcfg_late_failures.classes:Nowhere",
    "wrong-base": "egcfg_late_failures.classes:NoTracer",
    "abstract": "egcfg_late_failures.classes:AbstractTracer",
    "no-options": "egcfg_late_failures.classes:WithoutOptions",
    "unresolved": "egcfg_late_failures.options:UnresolvedTracer",
    "unconvertible": "egcfg_late_failures.options:UnconvertibleTracer",
    "no-arguments": "egcfg_late_failures.options:ArgumentlessTracer",
    "refusing": "egcfg_late_failures.options:RefusingTracer",
}


@hookimpl
def egcfg_components():
    """Return one tracer per failure."""
    return [
        Component(
            kind=Kind.TRACER,
            name=name,
            target=target,
            summary=f"fails: {name}",
            extra="egcfg-late-failures[gpu]",
        )
        for name, target in NAMES.items()
    ]
