"""Judges by a test function that is handed the solution: HumanEval's ``check(candidate)``.

``check`` runs in a judge's process; its candidate is a handle of the function in the program's
process (see `asserts`). Helpers that a test takes from the given code (``poly``, ``encode_shift``)
are the given ones, never the program's.
"""

from __future__ import annotations

from collections.abc import Iterator

from egcfg.interfaces.problem import CheckTest, Problem
from egcfg.scorers.judged import JudgedScorer, JudgedTest, wrong_kind
from egcfg.scorers.test_source import asks_something, parse_test

__all__ = ["CheckScorer"]


class CheckScorer(JudgedScorer):
    """A check(candidate) function (HumanEval)."""

    def tests(self, problem: Problem) -> Iterator[JudgedTest]:
        """Yield the check functions.

        Raises:
            UsageError: a test is no `CheckTest`, or no Python.
        """
        for test in problem.scoring_tests:
            if not isinstance(test, CheckTest):
                raise wrong_kind(problem, test, "check", "a check function")
            tree = parse_test(test.source, problem)
            yield JudgedTest(
                name=test.name,
                source=test.source,
                tree=tree,
                entry_point=test.entry_point,
                uses_program=asks_something(tree, test.entry_point, handed="check"),
                call_check=True,
            )
