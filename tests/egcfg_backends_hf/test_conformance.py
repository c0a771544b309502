"""The backend of local models keeps what every backend promises."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

from egcfg.testing import LogprobBackendSuite
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.options import HFOptions
from egcfg_backends_hf.testing import build_tiny_llama


class TestTinyLlama(LogprobBackendSuite):
    tolerance = 1e-9
    folder: ClassVar[Path]

    @classmethod
    def make(cls) -> HFBackend:
        cls.folder = build_tiny_llama(Path(tempfile.mkdtemp()))
        return HFBackend(HFOptions(model=str(cls.folder), device="cpu"))

    @classmethod
    def teardown_class(cls) -> None:
        super().teardown_class()
        shutil.rmtree(cls.folder)
