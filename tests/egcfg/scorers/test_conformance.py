"""The built-in scorers keep what every scorer promises."""

from __future__ import annotations

from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import registry
from egcfg.testing import ScorerSuite

BRIEF = {"cpu_seconds": 0.2, "wall_seconds": 5.0}


class TestAsserts(ScorerSuite):
    name = "asserts"
    options = BRIEF


class TestCheck(ScorerSuite):
    name = "check"
    options = BRIEF


class TestStdio(ScorerSuite):
    name = "stdio"
    options = BRIEF


class TestInprocess(ScorerSuite):
    name = "inprocess"
    options = BRIEF


def test_every_built_in_scorer_is_checked_here() -> None:
    checked = {suite.name for suite in (TestAsserts, TestCheck, TestStdio, TestInprocess)}
    assert set(registry().components(Kind.SCORER)) == checked
