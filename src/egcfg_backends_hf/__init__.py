"""Local models through transformers. Registers data only: importing it is cheap."""

from __future__ import annotations

import os

from egcfg.plugins.hookspecs import Component, Kind, hookimpl

# OpenMP's threads spin at each barrier, thousands a second in decoding. Where anything else runs on
# the same cores, whoever spins keeps from working the one that is waited for: measured ten times
# slower. It is read once, when torch is loaded, which no module of this package does before this.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "0")


@hookimpl
def egcfg_components() -> list[Component]:
    """Return the local backend."""
    return [
        Component(
            kind=Kind.BACKEND,
            name="hf",
            target="egcfg_backends_hf.backend:HFBackend",
            summary="a local model: hub id, folder or .gguf file (transformers)",
            options="egcfg_backends_hf.options:HFOptions",
            extra="egcfg[hf]",
        ),
    ]
