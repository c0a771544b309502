"""Programs whose verdicts are known: if the sandbox errs about them, no verdict of it counts."""

from __future__ import annotations

from attrs import frozen

from egcfg.errors import SandboxError
from egcfg.problem import AssertTest, Problem
from egcfg.sandbox.service import Sandbox
from egcfg.scorer import TestStatus
from egcfg.scorers.asserts import AssertsScorer
from egcfg.scorers.judged import ScorerOptions

__all__ = ["check_verdicts"]

PROBLEM = Problem(
    task_id="canary",
    description="",
    entry_point="f",
    visible_tests=(AssertTest("assert f([3, 1, 2]) == [1, 2, 3]"),),
)


@frozen
class Known:
    """A program, and the statuses that are right for it."""

    source: str
    right: TestStatus
    name: str


PROGRAMS = (
    Known("def f(x):\n    return sorted(x)\n", TestStatus.PASSED, "a right program"),
    Known("def f(x):\n    return list(x)\n", TestStatus.FAILED, "a wrong program"),
    Known(
        "class Equal(list):\n"
        "    def __eq__(self, other):\n"
        "        return True\n"
        "def f(x):\n"
        "    return Equal()\n",
        TestStatus.FAILED,
        "a program that claims to be equal to everything",
    ),
    Known("import os\nos._exit(0)\n", TestStatus.ERROR, "a program that leaves early"),
)


def check_verdicts(sandbox: Sandbox) -> None:
    """Judge the known programs as any solution is judged.

    Raises:
        SandboxError: a verdict is wrong.
    """
    scorer = AssertsScorer(ScorerOptions())
    for known in PROGRAMS:
        (result,) = scorer.score(PROBLEM, known.source, sandbox).results
        if result.status is not known.right:
            raise SandboxError(
                f"the sandbox judges {known.name} as {result.status}, not {known.right}"
                f" ({result.error or 'no error'}); no verdict here can be trusted: "
                "run `egcfg doctor`"
            )
