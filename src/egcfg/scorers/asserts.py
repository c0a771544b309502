"""Judges by assert statements about a function, as MBPP has them.

A test runs in a judge's process, which the program never was in: calls go to the program's process
with their arguments, plain values come back, and what has no plain form stays there, with a handle
for the test to go on with (see `egcfg.sandbox.confined.mirrors`).
"""

from __future__ import annotations

import ast
from typing import ClassVar

from egcfg.errors import UsageError
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.scorer import Score, Scorer
from egcfg.sandbox.judging import Judgement
from egcfg.sandbox.service import Sandbox
from egcfg.scorers.judged import ScorerOptions, judge_all, no_code, tell_unsupported, wrong_kind
from egcfg.scorers.test_source import (
    SAYS_NOTHING,
    asks_something,
    assigned_names,
    free_modules,
    parse_test,
    reason_against,
    used_builtins,
)

__all__ = ["AssertsScorer"]


class AssertsScorer(Scorer):
    """Assert statements about a function (MBPP)."""

    Options: ClassVar[type] = ScorerOptions

    def __init__(self, options: ScorerOptions) -> None:
        self.options = options

    def check(self, problem: Problem) -> None:
        """See that every test is an assert about the problem's function.

        Raises:
            UsageError: the problem names no function, or a test is no assert, no Python, or says
                nothing about the program.
        """
        tell_unsupported(problem, self._judgements(problem, ""))

    async def score(self, problem: Problem, code: str, sandbox: Sandbox) -> Score:
        """Judge `code` by each assert, every one with a fresh process of the program.

        Raises:
            SandboxError: the sandbox runs no program, not even an empty one.
            UsageError: as `check`.
        """
        judgements = self._judgements(problem, code)
        return await judge_all(judgements, sandbox) if code.strip() else no_code(judgements)

    def _trees(self, problem: Problem) -> tuple[str, list[tuple[AssertTest, ast.Module]]]:
        """Return the function's name, and each test with its syntax tree."""
        if problem.entry_point is None:
            raise UsageError(
                f"task {problem.task_id}: asserts need a function's name; set its entry_point"
            )
        trees = []
        for test in problem.scoring_tests:
            if not isinstance(test, AssertTest):
                raise wrong_kind(problem, test, "asserts", "assert statements")
            trees.append((test, parse_test(test.source, problem)))
        return problem.entry_point, trees

    def _judgements(self, problem: Problem, code: str) -> dict[str, Judgement]:
        entry_point, trees = self._trees(problem)
        setup = parse_test(problem.setup_code, problem)
        return {
            test.name: Judgement(
                source=code,
                test=test.source,
                entry_point=entry_point,
                setup=problem.setup_code,
                given=problem.given_code,
                modules=free_modules(tree),
                assigned=assigned_names(tree),
                builtins=used_builtins(tree),
                limits=problem.limits(self.options.limits),
                unsupported=reason_against(tree)
                if asks_something(tree, entry_point, setup)
                else SAYS_NOTHING,
            )
            for test, tree in trees
        }
