"""The template makes packages that build, install into an environment of their own, and work."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from egcfg.plugins.hookspecs import Kind

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "examples" / "plugin_template"
EXAMPLE = ROOT / "examples" / "plugin_package"


def generate(folder: Path, kind: str, name: str, author: str = "Somebody") -> Path:
    from copier import run_copy

    answers = {"kind": kind, "name": name, "author": author}
    run_copy(str(TEMPLATE), str(folder), data=answers, defaults=True, quiet=True)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of a fresh environment, which has what this one has, and pip offline."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    shared = [*site.getsitepackages(), *filter(None, os.environ.get("PYTHONPATH", "").split(":"))]
    shared += [path for path in sys.path if path.endswith(("site-packages", "src"))]
    (packages / "shared.pth").write_text("\n".join(dict.fromkeys(shared)) + "\n")
    return folder / "bin" / "python"


def ran(python: Path, *command: str, cwd: Path) -> str:
    done = subprocess.run(
        [str(python), "-m", *command],
        cwd=cwd,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", [kind.value for kind in Kind])
def test_a_package_of_each_kind_builds_installs_and_passes_its_checks(
    kind: str, environment: Path, tmp_path: Path
) -> None:
    package = generate(tmp_path / "package", kind, f"my_{kind}")
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    ran(environment, "pip", "wheel", *offline, "-q", "-w", "dist", ".", cwd=package)
    [wheel] = (package / "dist").glob(f"egcfg_my_{kind}-0.1.0-*.whl")
    ran(environment, "pip", "install", *offline, "-q", str(wheel), cwd=tmp_path)
    try:
        # Away from the sources, so that it is the installed package that works.
        tests = shutil.copytree(package / "tests", tmp_path / "tests")
        assert f"[egcfg-my-{kind} 0.1.0]" in ran(environment, "egcfg", "plugins", cwd=tmp_path)
        options = ("-o", f"dataset.path={tests / 'problems.csv'}") if kind == "dataset" else ()
        told = ran(environment, "egcfg", "plugins", "check", f"my_{kind}", *options, cwd=tmp_path)
        assert told.startswith(f"{kind} my_{kind}\n")
        assert " 0 failed" in told
        assert " passed" in ran(environment, "pytest", "-q", str(tests), cwd=tmp_path)
    finally:
        ran(environment, "pip", "uninstall", "-q", "-y", f"egcfg-my-{kind}", cwd=tmp_path)


def test_the_example_package_is_what_the_template_makes(tmp_path: Path) -> None:
    made = generate(tmp_path / "made", "tracer", "ends", "The egcfg developers")
    files = [file.relative_to(made) for file in sorted(made.rglob("*")) if file.is_file()]
    assert len(files) == 5
    for file in files:
        assert (made / file).read_text() == (EXAMPLE / file).read_text(), file
