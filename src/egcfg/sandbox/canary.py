"""Programs of which all is known: what verdict is right, and how long a usual machine takes.

If the sandbox errs about a verdict, none of it counts. If programs take long here, limits of time
that were meant for a usual machine would change scores: they are stretched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from attrs import frozen

from egcfg.errors import SandboxError
from egcfg.sandbox.judging import Finding, Judgement, Verdict
from egcfg.sandbox.types import Execution, ExecutionResult, Outcome, Pace

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

TEST = "def check(candidate):\n    assert candidate([3, 1, 2]) == [1, 2, 3]\n"


@frozen
class Known:
    """A program, and what a judge must find."""

    source: str
    right: Finding
    name: str


PROGRAMS = (
    Known("def f(x):\n    return sorted(x)\n", Finding.PASSED, "a right program"),
    Known("def f(x):\n    return list(x)\n", Finding.FAILED, "a wrong program"),
    Known(
        "class Equal(list):\n"
        "    def __eq__(self, other):\n"
        "        return True\n"
        "def f(x):\n"
        "    return Equal()\n",
        Finding.UNSUPPORTED,
        "a program that claims to be equal to everything",
    ),
    Known("import os\nos._exit(0)\n", Finding.UNANSWERED, "a program that leaves early"),
)


async def check_verdicts(
    judge: Callable[[Sequence[Judgement]], Awaitable[list[Verdict]]],
) -> None:
    """Have the known programs judged as any solution is judged.

    Args:
        judge: `egcfg.sandbox.Sandbox.judge`, or what it does without this check.

    Raises:
        SandboxError: a verdict is wrong.
    """
    verdicts = await judge(
        [
            Judgement(source=known.source, test=TEST, entry_point="f", call_check=True)
            for known in PROGRAMS
        ]
    )
    for known, verdict in zip(PROGRAMS, verdicts, strict=True):
        if verdict.finding is not known.right:
            raise SandboxError(
                f"the sandbox judges {known.name} as {verdict.finding}, not {known.right}"
                f" ({verdict.message or 'no error'}); no verdict here can be trusted: "
                "run `egcfg doctor`"
            )


async def measure_pace(
    run: Callable[[Sequence[Execution]], Awaitable[list[ExecutionResult]]], count: int
) -> Pace:
    """Run known work several times at once, and return how slow this machine is at it.

    Args:
        run: `egcfg.sandbox.Sandbox.run`, or what it does without this measurement.
        count: how many times; as many as there are cores at work.

    Raises:
        SandboxError: the work does not get done.
    """
    results = await run([Execution(source=WORK)] * count)
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
