"""Where converted models are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["CACHE_VARIABLE", "models_folder"]

CACHE_VARIABLE = "EGCFG_CACHE_DIR"


def models_folder() -> Path:
    """Return the folder of converted models: under ``$EGCFG_CACHE_DIR``, or the user's cache."""
    base = os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("egcfg")
    return Path(base).expanduser() / "models"
