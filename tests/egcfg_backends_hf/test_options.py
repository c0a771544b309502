from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from egcfg.config import load_config
from egcfg.runs.fingerprint import component_provenance
from egcfg_backends_hf.options import HFOptions


@pytest.mark.parametrize(
    ("given", "gpu", "coarse"),
    [
        ({}, None, False),
        ({}, "/dev/nvidiactl", True),
        ({}, "/dev/kfd", True),
        ({}, "/dev/dxg", True),
        ({"device": "cpu"}, "/dev/nvidiactl", False),
        ({"device": "cpu:0"}, "/dev/nvidiactl", False),
        ({"device": "cuda:1"}, None, True),
        ({"device": "mps"}, None, True),
        ({"device": "xpu:0"}, None, True),
        ({"dtype": "bfloat16", "device": "cpu"}, None, True),
        ({"dtype": "float16"}, None, True),
        ({"dtype": "float32"}, "/dev/nvidiactl", False),
    ],
)
def test_what_computes_in_16_bits_is_known_without_torch(
    given: dict[str, str], gpu: str | None, coarse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = HFOptions(**given)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", lambda path: str(path) == gpu)
        assert options.rounding_is_coarse == coarse


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
