"""Local models through transformers. Registers data only: importing it is cheap."""

from __future__ import annotations

from egcfg.hookspecs import Component, Kind, hookimpl


@hookimpl
def egcfg_components() -> list[Component]:
    """Return the local backend."""
    return [
        Component(
            kind=Kind.BACKEND,
            name="hf",
            target="egcfg_backends_hf.backend:HFBackend",
            summary="a local model: hub id, folder or .gguf file (transformers)",
            extra="egcfg[hf]",
        ),
    ]
