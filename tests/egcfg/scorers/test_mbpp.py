"""The real MBPP, where its file lies beside the checkout (it is no part of the project)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from egcfg.datasets.selection import open_dataset
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.scorer import Score, Scorer
from egcfg.scorers.asserts import AssertsScorer
from egcfg.scorers.judged import ScorerOptions

FILE = Path(__file__).parents[4] / "shared" / "data" / "mbpp.jsonl.gz"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason="needs mbpp.jsonl.gz in ../shared/data")


def test_the_published_test_split_can_be_read_and_every_task_can_be_traced() -> None:
    problems = open_dataset("mbpp", FILE).problems()
    assert [problem.task_id for problem in problems] == [str(n) for n in range(11, 511)]
    assert all(problem.executions("") for problem in problems)


def test_reference_solutions_pass_and_spoilt_ones_fail(
    judge: Callable[[Scorer, Problem, str], Score],
) -> None:
    with gzip.open(FILE, "rt", encoding="utf-8") as lines:
        code = {str(row["task_id"]): row["code"] for row in map(json.loads, lines)}
    scorer = AssertsScorer(ScorerOptions())
    for problem in open_dataset("mbpp", FILE).problems()[::10]:
        solution = code[problem.task_id]
        assert judge(scorer, problem, solution).passed, problem.task_id
        spoilt = f"{solution}\n\ndef {problem.entry_point}(*_, **__):\n    return object\n"
        assert not judge(scorer, problem, spoilt).passed, problem.task_id
