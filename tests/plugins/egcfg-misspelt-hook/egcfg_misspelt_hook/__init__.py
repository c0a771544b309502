"""Broken on purpose: there is no hook of this name."""

from egcfg import hookimpl


@hookimpl
def egcfg_component():
    """Miss an s."""
    return []
