from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from egcfg.config import load_config
from egcfg.runs.fingerprint import component_provenance
from egcfg_backends_hf import options as options_module
from egcfg_backends_hf.options import HFOptions


@pytest.mark.parametrize(
    ("given", "gpu", "coarse"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"device": "cpu"}, True, False),
        ({"device": "cuda:1"}, False, True),
        ({"dtype": "bfloat16", "device": "cpu"}, False, True),
        ({"dtype": "float16"}, False, True),
        ({"dtype": "float32"}, True, False),
    ],
)
def test_what_computes_in_16_bits_is_known_without_torch(
    given: dict[str, str], gpu: bool, coarse: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(options_module, "NVIDIA", tmp_path if gpu else tmp_path / "none")
    assert HFOptions(**given).rounding_is_coarse == coarse


def provenance(model: Path, dtype: str, *options: str, **flags: Any) -> dict[str, Any]:
    given = {"backend": "hf", "model": str(model), "device": "cpu", "dtype": dtype, **flags}
    return component_provenance(load_config(given, options, environment={}).config, "chat")


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ({"drafts": False}, ()),
        ({"concurrency": 3}, ()),
        ({}, ("backend.threads=2",)),
        ({}, ("backend.cache_bytes=9",)),
    ],
)
def test_16_bit_runs_pin_what_is_computed_together(
    tiny_llama: Path, flags: dict[str, Any], options: tuple[str, ...]
) -> None:
    for dtype, pinned in (("float32", False), ("bfloat16", True)):
        plain, changed = (
            provenance(tiny_llama, dtype, *given, **more)
            for given, more in (((), {}), (options, flags))
        )
        assert (plain != changed) == pinned
