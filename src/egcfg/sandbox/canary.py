"""Programs of which all is known: what verdict is right, and what must be out of reach.

If the sandbox errs about a verdict, none of it counts. If a program reaches another process, the
sandbox must not claim to keep it from that, whatever its layers say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from attrs import frozen

from egcfg.errors import SandboxError
from egcfg.sandbox.judging import Finding, Judgement, Verdict
from egcfg.sandbox.types import Call, Execution, ExecutionResult

__all__ = ["check_verdicts", "reaches_process"]

TEST = "def check(candidate):\n    assert candidate([3, 1, 2]) == [1, 2, 3]\n"
# Signal 0 asks for permission only. A file's owner is sent a signal when something arrives there.
SIGNALS = """
import ctypes, fcntl, os
def queue(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.sigqueue(pid, 0, ctypes.c_void_p(0)):
        raise OSError(ctypes.get_errno(), "sigqueue")
def own(pid):
    reader, _ = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, pid)
def reached(pid):
    found = []
    for attempt in (lambda: os.kill(pid, 0), lambda: queue(pid), lambda: own(pid)):
        try:
            attempt()
            found.append(True)
        except OSError:
            pass
    return found
"""


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


async def reaches_process(
    run: Callable[[Sequence[Execution]], Awaitable[list[ExecutionResult]]], pid: int
) -> bool:
    """Return whether a program can send a signal to a process of the same user.

    Args:
        run: `egcfg.sandbox.Sandbox.run`, or what it does without this check.
        pid: the process, which gets no signal, only a question whether it would.

    Raises:
        SandboxError: the program does not say.
    """
    (result,) = await run([Execution(source=SIGNALS, call=Call(f"reached({pid})"))])
    if not isinstance(result.value, list):
        raise SandboxError(
            f"the sandbox does not get a known program done: {result.outcome} {result.detail};"
            " run `egcfg doctor`"
        )
    return bool(result.value)
