"""Each extra brings all that its commands need: they run where nothing else can be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg_backends_fireworks.testing import LoopbackServer, ServedModel, Shape

SAVED = Path(__file__).parents[1] / "docs" / "effect"
PROGRAM = """
import json, sys
from importlib.machinery import PathFinder

class Present(PathFinder):
    missing = frozenset(json.loads(sys.argv.pop(1)))

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in cls.missing:
            return None
        return PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Present
from egcfg.cli import main
main()
"""


def brought(requirement: Requirement, found: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Add what a requirement brings to `found`, as pairs of a distribution and an extra of it."""
    name = canonicalize_name(requirement.name)
    for extra in ("", *requirement.extras):
        if (name, extra) in found:
            continue
        found.add((name, extra))
        try:
            needs = map(Requirement, requires(name) or ())
        except PackageNotFoundError:  # of another platform, or of tests
            continue
        for need in needs:
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                brought(need, found)
    return found


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    model = ServedModel(ScriptedBackend(ScriptedOptions(script=lambda _: "\n")), Shape())
    with LoopbackServer(model) as server:
        yield server.address


def run(extra: str, folder: Path, *arguments: str) -> None:
    """Run a command with what an extra brings, and nothing else; it has to succeed."""
    present = {name for name, _ in brought(Requirement(f"egcfg[{extra}]"), set())}
    missing = [
        module
        for module, of in packages_distributions().items()
        if not present & {*map(canonicalize_name, of)}
    ]
    assert "hypothesis" in missing
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(missing), *arguments],
        cwd=folder,
        env={**os.environ, "FIREWORKS_API_KEY": "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


SOLVING = ("run", "--method", "greedy", "--limit", "1", "--max-tokens", "4", "--results-dir", ".")


@pytest.mark.parametrize("extra", ["openai", "fireworks"])
def test_an_endpoint_is_asked_with_its_extra_alone(
    extra: str, endpoint: str, tmp_path: Path
) -> None:
    options = ("--backend", extra, "--base-url", f"{endpoint}/v1", "--model", "m")
    options += ("--prompt", "completion")
    run(extra, tmp_path, *SOLVING, *options)
    assert [*tmp_path.rglob("task_id=*.json")]


def test_a_model_runs_and_its_results_become_a_table_and_a_page_each_with_its_extra_alone(
    tiny_llama: Path, tmp_path: Path
) -> None:
    run("hf", tmp_path, *SOLVING, "--model", str(tiny_llama))
    assert [*tmp_path.rglob("task_id=*.json")]

    run("tables", tmp_path, "monitor", ".", "--tasks", "--format", "parquet", "-o", "rows.parquet")
    assert (tmp_path / "rows.parquet").read_bytes().startswith(b"PAR1")

    run("report", tmp_path, "report", ".")
    assert "<svg" in (tmp_path / "report.html").read_text("utf-8")


def test_arms_are_compared_and_drawn_with_compare_alone(tmp_path: Path) -> None:
    arms = ("--arm", "greedy", "--arm", "best_of_n")
    run("compare", tmp_path, "compare", str(SAVED), *arms, "--plot", "curves.svg")
    assert "<svg" in (tmp_path / "curves.svg").read_text("utf-8")


def test_humaneval_is_read_with_datasets_alone(tmp_path: Path) -> None:
    run("datasets", tmp_path, "datasets", "humaneval", "--limit", "1")
