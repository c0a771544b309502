"""What calls of `egcfg.reward` share ends with each file of tests."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def nothing_shared_stays() -> Iterator[None]:
    """End the shared sandbox: tests of other rooms see which processes are left behind."""
    yield
    module = importlib.import_module("egcfg.evaluation.reward")
    module._shared.close()
    module._shared = module._Shared()
