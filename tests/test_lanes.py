"""The slow lanes fit the code as it is, so that they run when somebody wants them."""

from __future__ import annotations

import ast
import importlib
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = """
def f(x: int | None, y: str | None=1) -> int | None:
    if x < 3 and y:
        g(x)
    x += 1
    return x - y
"""
CHANGED = {
    "return None",
    "if x <= 3 and y:",
    "if x < 3 or y:",
    "if not (x < 3 and y):",
    "if x < 4 and y:",
    "def f(x: int | None, y: str | None=2) -> int | None:",
    "pass",
    "x += 2",
    "return x + y",
}


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "lanes"))
    return importlib.import_module("mutants"), importlib.import_module("branches")


def test_each_change_is_one_line_and_still_python(lanes: tuple[ModuleType, ModuleType]) -> None:
    mutants, _ = lanes
    found = []
    for changed in mutants.changes(SOURCE):
        ast.parse(changed)
        lines = zip(SOURCE.splitlines(), changed.splitlines(), strict=True)
        [line] = [new.strip() for old, new in lines if old != new]
        found.append(line)
    assert {*found} == CHANGED
    assert sorted(found) == sorted([*CHANGED, "pass"])


def test_every_named_fault_still_fits_the_code(lanes: tuple[ModuleType, ModuleType]) -> None:
    mutants, _ = lanes
    named = mutants.named()
    assert len(named) >= 8
    for mutant in named:
        ast.parse(mutant.source)
        assert mutant.difference
        for file, _, test in (test.partition("::") for test in mutant.tests):
            assert f"def {test.partition('[')[0]}" in (ROOT / file).read_text("utf-8")


def test_every_change_that_nobody_can_see_can_be_made_and_has_its_reason(
    lanes: tuple[ModuleType, ModuleType],
) -> None:
    mutants, _ = lanes
    entries = tomllib.loads(mutants.EQUIVALENT.read_text("utf-8"))
    made = {
        mutants.key(mutant)
        for room in mutants.ROOMS.values()
        for mutant in mutants.mutants_of(room)
        if mutant.module in entries
    }
    assert mutants.equivalent() - made == set()
    for changes in entries.values():
        assert all(len(change["why"].split()) >= 3 for change in changes)


def test_every_room_has_modules_and_tests(lanes: tuple[ModuleType, ModuleType]) -> None:
    mutants, branches = lanes
    for room in mutants.ROOMS.values():
        assert all(list((ROOT / "src").glob(pattern)) for pattern in room.modules)
        assert all((ROOT / test).exists() for test in room.tests)
    tested = {
        str(folder.relative_to(ROOT / "tests"))
        for pattern in ("egcfg/*", "egcfg_*")
        for folder in (ROOT / "tests").glob(pattern)
        if list(folder.glob("test_*.py"))
    }
    assert tested - {*branches.FLOORS} == {"egcfg/cluster", "egcfg/harnesses", "egcfg_tracers"}
    assert [room for room in branches.FLOORS if not (ROOT / "src" / room).is_dir()] == []
