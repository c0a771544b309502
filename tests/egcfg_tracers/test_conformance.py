"""The built-in tracers keep what every tracer promises."""

from __future__ import annotations

from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import registry
from egcfg.testing import TracerSuite


class TestFull(TracerSuite):
    name = "full"


class TestBytecode(TracerSuite):
    name = "bytecode"


class TestMinimal(TracerSuite):
    name = "minimal"


def test_every_built_in_tracer_is_checked_here() -> None:
    checked = {suite.name for suite in (TestFull, TestBytecode, TestMinimal)}
    assert set(registry().components(Kind.TRACER)) == checked
