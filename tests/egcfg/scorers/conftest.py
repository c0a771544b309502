"""One sandbox for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from egcfg.sandbox import Sandbox


@pytest.fixture(scope="package")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as service:
        yield service
