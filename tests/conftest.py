"""What every test can rely on: a clean environment, one tiny real model, no silent skip."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests run side by side, a core each: torch's threads would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import egcfg_backends_hf  # noqa: F401 - sets thread behaviour before torch

# What pip does in three processes for each package, each of which imports setuptools.
BUILD = """
import os, sys
from setuptools import build_meta
wheels, *sources = sys.argv[1:]
for source in sources:
    os.chdir(source)
    build_meta.build_wheel(wheels)
"""
SECRETS = ("FIREWORKS_API_KEY", "OPENAI_API_KEY", "HF_TOKEN")

# An example takes as long as it takes: the machine may be busy.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
settings.register_profile("brief", max_examples=10)  # make test-fast
settings.register_profile("thorough", max_examples=2000)  # make test-thorough


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--known-skips",
        metavar="FILE",
        type=Path,
        help="fail each test that is skipped for a reason that no line `TEST FILE: REASON` holds",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what runs whole commands: at the end one core would wait for another."""
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


def pytest_collection_finish() -> None:
    """Leave what lives as long as the tests, torch among it, out of each collection of garbage."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_unknown_skip(item.config, report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_unknown_skip(collector.config, report)
    return report


def _refuse_unknown_skip(
    config: pytest.Config, report: pytest.TestReport | pytest.CollectReport
) -> None:
    """Make a failure of a skip that is not known; where the report is made, so in each worker."""
    known: Path | None = config.getoption("known_skips")
    if known is None or not report.skipped or hasattr(report, "wasxfail"):
        return
    assert isinstance(report.longrepr, tuple)
    file, reason = report.nodeid.partition("::")[0], report.longrepr[2].removeprefix("Skipped: ")
    if f"{file}: {reason}" not in known.read_text("utf-8").splitlines():
        report.outcome = "failed"
        report.longrepr = f"skipped, and {known} has no line\n{file}: {reason}"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting and no key of whoever runs the tests decides what they show."""
    for name in os.environ:
        if name.startswith("EGCFG_") and name != "EGCFG_CACHE_DIR":
            monkeypatch.delenv(name)
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def own_logging() -> Iterator[None]:
    """What a command sets up for logs ends with the test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def run() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Return what runs a coroutine to its end; all of them on one loop, as in a program."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return what makes a folder by its name, once for all workers that run tests side by side.

    ``made_once(name, write)`` returns the folder; ``write`` gets it empty, in the first worker.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # the workers have a folder each in that of the run

    def make(name: str, write: Callable[[Path], object]) -> Path:
        from filelock import FileLock

        folder, written = shared / f"once-{name}", shared / f"once-{name}.written"
        with FileLock(shared / f"once-{name}.lock"):
            if not written.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker in which it failed
                folder.mkdir()
                write(folder)
                written.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def build_wheels() -> Callable[[Iterable[Path], Path], list[Path]]:
    """Return what builds packages by their own build system, all in one process.

    ``build_wheels(sources, folder)`` leaves files beside the sources, and returns the wheels.
    """

    def build(sources: Iterable[Path], folder: Path) -> list[Path]:
        sources = [source.absolute() for source in sources]
        for source in sources:
            says = tomllib.loads((source / "pyproject.toml").read_text("utf-8"))["build-system"]
            assert says["build-backend"] == "setuptools.build_meta", source
        folder.mkdir()
        command = [sys.executable, "-c", BUILD, *map(str, [folder.absolute(), *sources])]
        subprocess.run(command, check=True, capture_output=True, text=True)
        wheels = sorted(folder.iterdir())
        assert len(wheels) == len(sources)
        return wheels

    return build


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny random Llama in float64 (milliseconds per forward pass)."""
    pytest.importorskip("torch")
    from egcfg_backends_hf.testing import build_tiny_llama

    return build_tiny_llama(tmp_path_factory.mktemp("tiny_llama"))
