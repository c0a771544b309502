"""Broken on purpose: the hook has an argument that nobody passes."""

from egcfg import hookimpl


@hookimpl
def egcfg_components(registry):
    """Want what the hook does not offer."""
    return []
