"""Registers the prompt `terse`; the class is only named here, and loaded when selected."""

from egcfg import Component, Kind, hookimpl


@hookimpl
def egcfg_components():
    """Return what this plugin brings."""
    return [
        Component(
            kind=Kind.PROMPT,
            name="terse",
            target="egcfg_terse.prompt:TersePrompt",
            summary="one sentence and an open code fence",
        )
    ]
