"""The program in this process and as a process of its own, with a backend that needs no model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import frozen

from egcfg.cli.program import invoke
from egcfg.plugins.registry import registry
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg_backends_fireworks.testing import LoopbackServer, ServedModel, Shape

# Ctrl-C works in the program also where whoever runs the tests ignores it, as a shell does that
# starts them in the background.
PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.{handler}); "
    "from egcfg.cli import main; main()"
)
HERE = Path(__file__).parent
PROBLEMS = [
    {"task_id": "square", "description": "Square x.", "tests": ["assert f(3) == 9"]},
    {"task_id": "double", "description": "Double x.", "tests": ["assert f(3) == 6"]},
]


@frozen
class Ran:
    """What came of one command."""

    status: int
    out: str
    err: str


def import_path(site: Path) -> dict[str, str]:
    """Return the environment in which a child imports what this process does, and `site`."""
    parts = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(parts)}


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
    own_logging: None,  # noqa: ARG001
) -> Iterator[Callable[..., Ran]]:
    """Run a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("COLUMNS", "100")
    registry.cache_clear()

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        status = invoke(arguments)
        return Ran(status, *capsys.readouterr())

    yield run
    registry.cache_clear()


@pytest.fixture
def start(site: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the program as a process of its own, in an empty folder."""

    def popen(
        *arguments: str, sigint: str = "default_int_handler", **environment: str
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(handler=sigint), *arguments],
            cwd=tmp_path,
            env={**os.environ, **import_path(site), "COLUMNS": "100", **environment},
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


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(problem) + "\n" for problem in PROBLEMS))
    return file


@pytest.fixture
def endpoint() -> Iterator[LoopbackServer]:
    """Serve a model that writes nothing but newlines, as a plain text server does."""
    model = ScriptedBackend(ScriptedOptions(script=lambda _: "\n"))
    shape = Shape(completions="number", names="text", takes_ids="", echoes=False)
    with LoopbackServer(ServedModel(model, shape)) as server:
        yield server
