"""The template makes packages that build, install into an environment of their own, and work."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import venv
from collections.abc import Callable
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
def packages(made_once: Callable[..., Path]) -> dict[str, Path]:
    """Return a generated package of each kind."""
    folder = made_once(
        "packages", lambda folder: [generate(folder / kind, kind, f"my_{kind}") for kind in Kind]
    )
    return {kind: folder / kind for kind in Kind}


@pytest.fixture(scope="module")
def environment(
    made_once: Callable[..., Path],
    packages: dict[str, Path],
    build_wheels: Callable[..., list[Path]],
) -> Path:
    """Return the Python of a fresh environment: it has what this one has, and all packages, built
    offline and installed."""
    made = made_once("environment", lambda folder: equip(folder, packages, build_wheels))
    return made / "bin" / "python"


def equip(folder: Path, packages: dict[str, Path], build_wheels: Callable[..., list[Path]]) -> None:
    """Make an environment in a folder, and install the packages there: pip builds one itself, and
    gets wheels of the others, since it takes two seconds for each."""
    venv.create(folder, symlinks=True)
    [site_packages] = folder.glob("lib/python*/site-packages")
    shared = [*site.getsitepackages(), *filter(None, os.environ.get("PYTHONPATH", "").split(":"))]
    shared += [path for path in sys.path if path.endswith(("site-packages", "src"))]
    (site_packages / "shared.pth").write_text("\n".join(dict.fromkeys(shared)) + "\n")
    python = folder / "bin" / "python"
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    tracer, *others = sorted(packages, key=lambda kind: kind != Kind.TRACER)
    wheels = build_wheels([packages[kind] for kind in others], folder / "wheels")
    assert {wheel.name for wheel in wheels} == {
        f"egcfg_my_{kind}-0.1.0-py3-none-any.whl" for kind in others
    }
    wanted = map(str, [packages[tracer], *wheels])
    ran(python, "pip", "install", *offline, "-q", *wanted, cwd=folder)


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
def test_a_package_of_each_kind_passes_the_checks_of_its_kind(
    kind: str, environment: Path, packages: dict[str, Path], tmp_path: Path
) -> None:
    # Away from the sources, so that it is the installed package that works.
    path = packages[kind] / "tests" / "problems.csv"
    options = ("-o", f"dataset.path={path}") if kind == "dataset" else ()
    told = ran(environment, "egcfg", "plugins", "check", f"my_{kind}", *options, cwd=tmp_path)
    assert told.startswith(f"{kind} my_{kind}\n")
    assert " 0 failed" in told


def test_packages_are_listed_and_their_own_tests_pass(
    environment: Path, packages: dict[str, Path], tmp_path: Path
) -> None:
    listed = ran(environment, "egcfg", "plugins", cwd=tmp_path)
    for kind, package in packages.items():
        assert f"[egcfg-my-{kind} 0.1.0]" in listed
        shutil.copytree(package / "tests", tmp_path / kind)
    said = ran(environment, "pytest", "-q", "-rA", "--import-mode=importlib", ".", cwd=tmp_path)
    assert {line.split("/")[0] for line in said.splitlines() if line.startswith("PASSED")} == {
        f"PASSED {kind}" for kind in packages
    }


def test_the_example_package_is_what_the_template_makes(tmp_path: Path) -> None:
    made = generate(tmp_path / "made", "tracer", "ends", "The egcfg developers")
    files = [file.relative_to(made) for file in sorted(made.rglob("*")) if file.is_file()]
    assert len(files) == 5
    for file in files:
        assert (made / file).read_text() == (EXAMPLE / file).read_text(), file
