"""Judges by assert statements about a function, as MBPP has them.

A test runs in a judge's process, which the program never was in: calls go to the program's process
with their arguments, plain values come back, and what has no plain form stays there, with a handle
for the test to go on with (see `egcfg.sandbox.confined.mirrors`).
"""

from __future__ import annotations

from collections.abc import Iterator

from egcfg.errors import UsageError
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.scorers.judged import JudgedScorer, JudgedTest, wrong_kind
from egcfg.scorers.test_source import asks_something, parse_test

__all__ = ["AssertsScorer"]


class AssertsScorer(JudgedScorer):
    """Assert statements about a function (MBPP)."""

    def tests(self, problem: Problem) -> Iterator[JudgedTest]:
        """Yield the asserts.

        Raises:
            UsageError: the problem names no function, or a test is no assert, or no Python.
        """
        if problem.entry_point is None:
            raise UsageError(
                f"task {problem.task_id}: asserts need a function's name; set its entry_point"
            )
        setup = parse_test(problem.setup_code, problem)
        for test in problem.scoring_tests:
            if not isinstance(test, AssertTest):
                raise wrong_kind(problem, test, "asserts", "assert statements")
            tree = parse_test(test.source, problem)
            yield JudgedTest(
                name=test.name,
                source=test.source,
                tree=tree,
                entry_point=problem.entry_point,
                uses_program=asks_something(tree, problem.entry_point, setup),
            )
