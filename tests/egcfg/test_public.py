"""What ``import egcfg`` offers."""

from __future__ import annotations

import importlib.metadata
import inspect

import pytest

import egcfg


@pytest.mark.parametrize("name", egcfg.__all__)
def test_every_export_is_what_its_module_defines(name: str) -> None:
    value = getattr(egcfg, name)

    assert getattr(inspect.getmodule(value), name, value) is value
    assert name in dir(egcfg)


def test_the_version_is_the_distribution_s() -> None:
    assert egcfg.__version__ == importlib.metadata.version("egcfg")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="attribute sovle"):
        egcfg.sovle  # noqa: B018 - the access is the test
