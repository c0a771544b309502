"""The data sets that need no network keep what every data set promises."""

from __future__ import annotations

from pathlib import Path

from egcfg.testing import DatasetSuite

ROOT = Path(__file__).parents[3]


class TestQuickstart(DatasetSuite):
    name = "quickstart"


class TestFile(DatasetSuite):
    name = "file"
    options = {"path": str(ROOT / "examples" / "problems.jsonl")}
