"""The data sets that need no network keep what every data set promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from egcfg.testing import DatasetSuite

OWN = {"path": str(Path(__file__).parents[3] / "examples" / "problems.jsonl")}


class TestQuickstart(DatasetSuite):
    name = "quickstart"


class TestFile(DatasetSuite):
    name = "file"
    options = OWN


class TestHumanEval(DatasetSuite):
    name = "humaneval"


class TestMbpp(DatasetSuite):
    name = "mbpp"
    options: ClassVar[dict[str, Any]] = {"path": str(Path(__file__).with_name("mbpp_form.jsonl"))}
