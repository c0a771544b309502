"""Programs of which all is known: what verdict is right, and how long a usual machine takes.

If the sandbox errs about a verdict, none of it counts. If programs take long here, limits of time
that were meant for a usual machine would change scores: they are stretched.
"""

from __future__ import annotations

from attrs import frozen

from egcfg.errors import SandboxError
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.scorer import TestStatus
from egcfg.sandbox.service import Sandbox, usable_cores
from egcfg.sandbox.types import Execution, Outcome, Pace
from egcfg.scorers.asserts import AssertsScorer
from egcfg.scorers.judged import ScorerOptions

__all__ = ["check_verdicts", "measure_pace"]

# What a core of a usual server takes for the work below, in processor time.
USUAL_SECONDS = 0.025
WORK = """
found = {}
for number in range(60_000):
    key = str(number % 97)
    found[key] = found.get(key, 0) + number * number % 7
"""
MAX_STRETCH = 20

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


def measure_pace(sandbox: Sandbox) -> Pace:
    """Run known work on every core at once, and return how slow this machine is at it.

    Raises:
        SandboxError: the work does not get done.
    """
    results = sandbox.run([Execution(source=WORK)] * min(sandbox.workers, usable_cores()))
    for result in results:
        if result.outcome is not Outcome.OK:
            raise SandboxError(
                f"the sandbox does not get a known program done: {result.outcome}"
                f" {result.detail}; run `egcfg doctor`"
            )
    cpu = min(result.cpu_seconds for result in results)
    wall = min(result.seconds for result in results)
    return Pace(cpu=_stretch(cpu / USUAL_SECONDS), wall=_stretch(max(cpu, wall) / USUAL_SECONDS))


def _stretch(slowness: float) -> int:
    # In whole steps: small differences between two runs are not to change the limits.
    return max(1, min(MAX_STRETCH, round(slowness)))
