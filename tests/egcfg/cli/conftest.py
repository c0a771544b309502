"""The program in this process and as a process of its own, with a backend that needs no model."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import frozen

from egcfg import plugins
from egcfg.cli.program import invoke

HERE = Path(__file__).parent


@frozen
class Ran:
    """What came of one command."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds the scripted backend as an installed distribution."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(HERE / "scripted" / "egcfg_scripted.py", folder)
    metadata = folder / "egcfg_scripted-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: egcfg-scripted\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text("[egcfg]\nscripted = egcfg_scripted\n")
    return folder


@pytest.fixture
def egcfg(
    site: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Callable[..., Ran]]:
    """Run a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("COLUMNS", "100")
    plugins.registry.cache_clear()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        status = invoke(arguments)
        return Ran(status, *capsys.readouterr())

    yield run
    plugins.registry.cache_clear()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def start(site: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the program as a process of its own, in an empty folder."""

    def popen(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "egcfg", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site), "COLUMNS": "100", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return popen


@pytest.fixture
def process(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., Ran]:
    """Run the program as a process of its own, to its end."""

    def run(*arguments: str, **environment: str) -> Ran:
        child = start(*arguments, **environment)
        out, err = child.communicate()
        return Ran(child.returncode, out, err)

    return run
