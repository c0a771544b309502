"""What ``import egcfg`` offers."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import egcfg
from egcfg import _MODULE_OF


def test_the_list_of_exports_is_sorted_and_complete() -> None:
    assert egcfg.__all__ == sorted(egcfg.__all__)
    assert set(egcfg.__all__) == set(_MODULE_OF)


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    tree = ast.parse(Path(inspect.getfile(egcfg)).read_text())
    (block,) = [n for n in tree.body if isinstance(n, ast.If)]
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert seen == {name: f"egcfg.{module}" for name, module in _MODULE_OF.items()}


@pytest.mark.parametrize("name", egcfg.__all__)
def test_every_export_is_what_its_module_defines(name: str) -> None:
    value = getattr(egcfg, name)

    assert getattr(inspect.getmodule(value), name, value) is value
    assert name in dir(egcfg)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'sovle'"):
        egcfg.sovle  # noqa: B018 - the access is the test
