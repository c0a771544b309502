"""The fixtures for plugins' tests, which cost nothing to whoever does not use them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from egcfg.testing import pytest_plugin

ROOT = Path(__file__).parents[3]


def test_pytest_finds_the_fixtures_where_egcfg_is_installed() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert declared["pytest11"] == {"egcfg": pytest_plugin.__name__}


def test_it_imports_nothing_but_pytest_and_what_loads_names_later() -> None:
    """pytest loads it in every environment, whatever is tested there."""
    program = (
        "import sys, pytest; before = set(sys.modules); import egcfg.testing.pytest_plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    own = ["egcfg", "egcfg.testing", "egcfg.testing.pytest_plugin"]
    assert done.stdout.split() == [*own, "lazy_loader"]


def test_it_adds_fixtures_and_nothing_else() -> None:
    own = [name for name in vars(pytest_plugin) if name.startswith(("pytest_", "egcfg_"))]
    assert sorted(own) == pytest_plugin.__all__
