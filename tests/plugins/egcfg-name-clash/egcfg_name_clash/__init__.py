"""Broken on purpose: it would shadow a built-in tracer, and brings a prompt beside."""

from egcfg import Component, Kind, hookimpl


@hookimpl
def egcfg_components():
    """Return a tracer whose name is taken."""
    return [
        Component(
            kind=Kind.TRACER, name="full", target="egcfg_name_clash:Nothing", summary="shadows"
        )
    ]
