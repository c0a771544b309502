"""Judges by a test function that is handed the solution: HumanEval's ``check(candidate)``.

``check`` runs in a judge's process; its candidate is a handle of the function in the program's
process (see `asserts`). Helpers that a test takes from the given code (``poly``, ``encode_shift``)
are the given ones, never the program's.
"""

from __future__ import annotations

from typing import ClassVar

from egcfg.interfaces.problem import CheckTest, Problem
from egcfg.interfaces.scorer import Score, Scorer
from egcfg.sandbox.judging import Judgement
from egcfg.sandbox.service import Sandbox
from egcfg.scorers.judged import (
    ScorerOptions,
    judge_all,
    no_code,
    tell_unsupported,
    wrong_kind,
)
from egcfg.scorers.test_source import (
    SAYS_NOTHING,
    asks_something,
    assigned_names,
    free_modules,
    parse_test,
    reason_against,
    used_builtins,
)

__all__ = ["CheckScorer"]


class CheckScorer(Scorer):
    """A check(candidate) function (HumanEval)."""

    Options: ClassVar[type] = ScorerOptions

    def __init__(self, options: ScorerOptions) -> None:
        self.options = options

    def check(self, problem: Problem) -> None:
        """See that every test is a check function.

        Raises:
            UsageError: a test is no `CheckTest`, no Python, or calls nothing.
        """
        tell_unsupported(problem, self._judgements(problem, code=""))

    async def score(self, problem: Problem, code: str, sandbox: Sandbox) -> Score:
        """Judge `code` by each check function.

        Raises:
            SandboxError: the sandbox runs no program, not even an empty one.
            UsageError: as `check`.
        """
        judgements = self._judgements(problem, code)
        return await judge_all(judgements, sandbox) if code.strip() else no_code(judgements)

    def _judgements(self, problem: Problem, code: str) -> dict[str, Judgement]:
        judgements = {}
        for test in problem.scoring_tests:
            if not isinstance(test, CheckTest):
                raise wrong_kind(problem, test, "check", "a check function")
            tree = parse_test(test.source, problem)
            asks = asks_something(tree, test.entry_point, handed="check")
            judgements[test.name] = Judgement(
                source=code,
                test=test.source,
                entry_point=test.entry_point,
                call_check=True,
                setup=problem.setup_code,
                given=problem.given_code,
                modules=free_modules(tree),
                assigned=assigned_names(tree),
                builtins=used_builtins(tree),
                limits=problem.limits(self.options.limits),
                unsupported=reason_against(tree) if asks else SAYS_NOTHING,
            )
        return judgements
