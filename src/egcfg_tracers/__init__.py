"""Tracers of Python programs: one engine, three depths. Registers data only."""

from __future__ import annotations

from egcfg.plugins.hookspecs import Component, Kind, hookimpl


@hookimpl
def egcfg_components() -> list[Component]:
    """Return the built-in tracers."""
    return [
        Component(
            kind=Kind.TRACER,
            name="full",
            target="egcfg_tracers.tracers:FullTracer",
            summary="calls, lines, changed variables, returns, exceptions",
        ),
        Component(
            kind=Kind.TRACER,
            name="bytecode",
            target="egcfg_tracers.tracers:BytecodeTracer",
            summary="the full trace and every executed bytecode instruction",
        ),
        Component(
            kind=Kind.TRACER,
            name="minimal",
            target="egcfg_tracers.tracers:MinimalTracer",
            summary="only the final state of the called function",
        ),
    ]
