"""Folders of problems, samples and expected verdicts: ``make test-verdicts CASES=FOLDER``.

Beside such folders there may be a file ``test-forms.json``: ``verdicts`` (program, test and whether
plain CPython passes it) and ``stdio`` (program, input, output and whether it is right).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from egcfg.cli.program import WRONG_USAGE, invoke
from egcfg.interfaces.problem import AssertTest, Problem, StdioTest
from egcfg.interfaces.scorer import TestStatus
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox

pytestmark = pytest.mark.verdicts
CASES = Path(os.environ.get("EGCFG_CASES", ""))
FOLDERS = sorted(path.parent for path in CASES.glob("*/expected.json")) if CASES.name else []
FORMS = CASES / "test-forms.json"


def forms(kind: str) -> list[Any]:
    return json.loads(FORMS.read_text())[kind] if CASES.name and FORMS.exists() else []


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with closing(Sandbox()) as opened:
        yield opened


def test_there_are_cases() -> None:
    if not CASES.name:
        pytest.skip("needs a folder of cases: make test-verdicts CASES=FOLDER")
    assert FOLDERS or FORMS.exists(), f"{CASES} holds no folder with an expected.json"


def score(problems: Path, samples: Path, folder: Path) -> list[dict[str, Any]]:
    """Return the rows of ``egcfg score``; none where it refuses the problems."""
    out = folder / "out.jsonl"
    arguments = ["score", str(samples), "--dataset", str(problems), "--out", str(out)]
    if invoke(arguments) == WRONG_USAGE:
        return []
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_verdicts_of_a_folder_are_the_expected_ones(folder: Path, tmp_path: Path) -> None:
    problems = folder / "problems.jsonl"
    if not problems.exists():
        (tmp_path / "make.py").write_text((folder / "make.py").read_text())
        subprocess.run([sys.executable, "make.py"], cwd=tmp_path, check=True)
        problems = tmp_path / "problems.jsonl"
    rows = score(problems, folder / "samples.jsonl", tmp_path)
    expected = json.loads((folder / "expected.json").read_text())
    passed = {row["task_id"] for row in rows if row["passed"]}
    assert passed == {task for task, verdict in expected.items() if verdict == "passed"}


@pytest.mark.parametrize("name", ["humanevalplus_hf", "mbppplus_hf"])
def test_stricter_tests_of_a_derived_data_set_decide(name: str, tmp_path: Path) -> None:
    folder = CASES / "derived-data-sets"
    if not CASES.name or not folder.exists():
        pytest.skip("needs the cases of derived data sets")
    [samples] = folder.glob(f"{name.removesuffix('_hf')}_[rc]*.jsonl")
    [row] = score(folder / f"{name}.jsonl", samples, tmp_path)
    assert row["passed"] == samples.stem.endswith("_right")


@pytest.mark.parametrize("form", forms("verdicts"), ids=lambda form: form["name"])
def test_a_verdict_by_an_assert_is_the_right_one(
    run: Callable[..., Any], sandbox: Sandbox, form: dict[str, Any]
) -> None:
    problem = Problem(
        task_id=form["name"],
        description="",
        entry_point=form["entry"],
        visible_tests=[AssertTest(form["test"])],
        setup_code=form["setup"],
    )
    patches = "patch" in form["test"]
    scorer = create(Kind.SCORER, "asserts")
    [result] = run(scorer.score(problem, form["program"], sandbox)).results
    assert (result.status is TestStatus.UNSUPPORTED) == patches, result
    if patches:
        scorer = create(Kind.SCORER, "inprocess")
        [result] = run(scorer.score(problem, form["program"], sandbox)).results
    assert (result.status is TestStatus.PASSED) == form["right"], result


@pytest.mark.parametrize("form", forms("stdio"), ids=lambda form: form["name"])
def test_a_verdict_by_output_is_the_right_one(
    run: Callable[..., Any], sandbox: Sandbox, form: dict[str, Any]
) -> None:
    problem = Problem(
        task_id=form["name"],
        description="",
        entry_point=form["entry"],
        visible_tests=[StdioTest(form["stdin"], form["stdout"])],
        scorer="stdio",
    )
    scorer = create(Kind.SCORER, "stdio")
    [result] = run(scorer.score(problem, form["program"], sandbox)).results
    assert (result.status is TestStatus.PASSED) == form["right"], result
