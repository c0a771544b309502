"""docs/methods.md names every method, every option with its default, and every event."""

from __future__ import annotations

import enum
import re
from pathlib import Path

import attrs
import pytest

from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import component_class, registry

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "methods.md").read_text()
METHODS = [
    component.name
    for report in registry().reports
    for component in report.components
    if report.builtin and component.kind is Kind.METHOD
]


@pytest.mark.parametrize("method", METHODS)
def test_a_method_has_a_row_with_its_options(method: str) -> None:
    row = re.findall(rf"^\| `{method}` \|.*$", PAGE, re.M)[0]  # of the first table
    if "[policies](policies.md)" in row:
        return
    for option in attrs.fields(component_class(Kind.METHOD, method).Options):
        default = option.default
        shown = default.value if isinstance(default, enum.Enum) else str(default).lower()
        assert f"`{option.name}` {shown}" in row


def test_every_event_is_explained() -> None:
    sources = (ROOT / "src" / "egcfg").rglob("*.py")
    found = {e for file in sources for e in re.findall(r'note\(\s*"(\w+)"', file.read_text())}
    assert len(found) > 10
    assert {event for event in found if f"`{event}`" not in PAGE} == set()
