from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from egcfg.harnesses.model import HarnessModel, harness_config

PROMPT = 'def f(x):\n    """Double it.\n    >>> f(2)\n    4\n    """\n'
CHECK = "def check(candidate):\n    assert candidate(7) == 14\n"
RECORD = {
    "task_id": "HumanEval/0",
    "prompt": PROMPT,
    "entry_point": "f",
    "canonical_solution": "    return 2 * x\n",
    "test": CHECK,
}


@pytest.fixture
def record() -> dict[str, Any]:
    """Return a record of HumanEval's shape."""
    return dict(RECORD)


@pytest.fixture(scope="session")
def values(tiny_llama: Path) -> dict[str, Any]:
    """Return settings with which the tiny model answers in no time."""
    settings = {"max_tokens": 24, "candidates": 2, "tracer": "minimal", "dtype": "float64"}
    return {"model": str(tiny_llama), **settings}


@pytest.fixture(scope="module")
def model(values: dict[str, Any]) -> Iterator[HarnessModel]:
    opened = HarnessModel(harness_config(values))
    yield opened
    opened.close()
