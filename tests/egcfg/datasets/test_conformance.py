"""The data sets that need no network keep what every data set promises."""

from __future__ import annotations

from pathlib import Path

from egcfg.testing import DatasetSuite

OWN = {"path": str(Path(__file__).parents[3] / "examples" / "problems.jsonl")}


class TestQuickstart(DatasetSuite):
    name = "quickstart"


class TestFile(DatasetSuite):
    name = "file"
    options = OWN
