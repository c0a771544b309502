"""What a judge is asked, and what it answers: a trusted test against an untrusted program."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs
from attrs import field, frozen

from egcfg.sandbox.clocks import STRETCH
from egcfg.sandbox.confined import codec
from egcfg.sandbox.translate import pack_limits
from egcfg.sandbox.types import Execution, ExecutionResult, Limits
from egcfg.sandbox.watch import Answer

__all__ = ["Finding", "Judgement", "Verdict", "read_verdict"]


class Finding(enum.StrEnum):
    """What a judge found.

    ``UNANSWERED``: the program ended before it had answered every call. ``TIMEOUT`` and ``MEMORY``:
    the comparison itself hit a limit, or the program's own MemoryError came through.
    ``SANDBOX_ERROR``: the sandbox failed twice on this judgement.
    """

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    UNSUPPORTED = "unsupported"
    UNANSWERED = "unanswered"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    SANDBOX_ERROR = "sandbox_error"


@frozen(kw_only=True)
class Judgement:
    """A program and the test that decides about it.

    Attributes:
        source: the program; untrusted.
        test: the test's code; trusted, and never sent to the program's process.
        entry_point: the program's function that the test calls.
        call_check: whether `test` defines ``check``, which is to be called with the function.
        setup: code that the test relies on; runs on both sides.
        given: code that the program was to continue; the test may use what it defines.
        modules: modules that the test uses without importing them, by the names that it uses.
        assigned: global names that the test assigns: none that the program goes by.
        builtins: those that the test uses: none whose names the program gives to something else.
        limits: what the program may use.
        unsupported: why this test cannot be judged at all, known beforehand; None where it can.
    """

    source: str
    test: str
    entry_point: str
    call_check: bool = False
    setup: str = ""
    given: str = ""
    modules: Mapping[str, str] = field(factory=dict)
    assigned: tuple[str, ...] = ()
    builtins: tuple[str, ...] = ()
    limits: Limits = field(factory=Limits)
    unsupported: str | None = None

    def execution(self) -> Execution:
        """Return the program's side."""
        return Execution(
            source=self.source, setup=self.setup, limits=self.limits, keep_output=False
        )

    def judge_request(self) -> dict[str, Any]:
        """Return the request for the judge's process."""
        # A test may do the program's work as well, for comparison, and reads all that it sends.
        cpu_seconds = 2 * self.limits.cpu_seconds
        # Most of its time the judge waits for the program, however long that one lasts.
        wall_seconds = STRETCH * self.limits.wall_seconds + cpu_seconds
        limits = attrs.evolve(self.limits, cpu_seconds=cpu_seconds, wall_seconds=wall_seconds)
        return {
            "role": "judge",
            "test": self.test,
            "entry_point": self.entry_point,
            "call_check": self.call_check,
            "setup": self.setup,
            "given": self.given,
            "modules": dict(self.modules),
            "assigned": self.assigned,
            "builtins": self.builtins,
            "stdin": "",
            "keep_output": False,
            "limits": pack_limits(limits),
            "instrument": None,
        }


@frozen(kw_only=True)
class Verdict:
    """What came of a judgement.

    Attributes:
        finding: the judge's word; the program had no part in it.
        message: one line on what went wrong.
        program: how the program's process ended; untrusted but for its outcome.
    """

    finding: Finding
    message: str
    program: ExecutionResult


_JUDGE_ENDS = {
    "timeout": Finding.TIMEOUT,
    "memory": Finding.MEMORY,
    "output": Finding.ERROR,
    "killed": Finding.ERROR,
    "left": Finding.ERROR,
    "sandbox_error": Finding.SANDBOX_ERROR,
}
_BOUNDS = codec.Bounds(size=1 << 16, nodes=20, depth=2, keys=10)


def read_verdict(program: ExecutionResult, answer: Answer) -> Verdict:
    """Return the verdict that a judge reported, or what its end means."""
    if answer.how != "reported":
        finding = _JUDGE_ENDS[answer.how]
        whose = "" if finding is Finding.SANDBOX_ERROR else "the test: "
        return Verdict(finding=finding, message=f"{whose}{answer.detail}", program=program)
    report = codec.decode(answer.report, _BOUNDS)
    return Verdict(finding=Finding(report["status"]), message=report["message"], program=program)
