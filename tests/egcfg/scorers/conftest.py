"""One sandbox for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from typing import Any

import pytest

from egcfg.interfaces.problem import Problem
from egcfg.interfaces.scorer import Score, Scorer
from egcfg.sandbox import Sandbox


@pytest.fixture(scope="package")
def judge(
    run: Callable[[Coroutine[Any, Any, Any]], Any],
) -> Iterator[Callable[[Scorer, Problem, str], Score]]:
    """Let a scorer judge a program."""
    with closing(Sandbox()) as sandbox:

        def judge_one(scorer: Scorer, problem: Problem, code: str) -> Score:
            score: Score = run(scorer.score(problem, code, sandbox))  # type: ignore[arg-type]
            return score

        yield judge_one
