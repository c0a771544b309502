"""The seam to judgement: a solution in, one status per test out."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from attrs import field, frozen

from egcfg.interfaces.backend import MaybeAwaitable
from egcfg.interfaces.problem import Problem

if TYPE_CHECKING:
    from egcfg.sandbox.service import Sandbox

__all__ = ["Score", "Scorer", "TestResult", "TestStatus"]


class TestStatus(enum.StrEnum):
    """What one test says about a solution.

    ``SANDBOX_ERROR`` says nothing about it: the sandbox failed. ``UNSUPPORTED``: the test cannot be
    judged apart from the solution's process; the error says why.
    """

    __test__ = False

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    UNSUPPORTED = "unsupported"
    SANDBOX_ERROR = "sandbox_error"


@frozen(kw_only=True)
class TestResult:
    """The verdict of one test.

    Attributes:
        name: the test's key in result files (`TestCase` ``name``).
        status: the verdict.
        seconds: wall time of the execution.
        error: one line on what went wrong; None when passed.
        packages: those that the program imported, as ``name==version``; as it says itself.
    """

    __test__ = False

    name: str
    status: TestStatus
    seconds: float
    error: str | None = None
    packages: tuple[str, ...] = ()


def _as_tuple(results: Iterable[TestResult]) -> tuple[TestResult, ...]:
    return tuple(results)


@frozen(kw_only=True)
class Score:
    """The verdicts of all tests on one solution.

    Attributes:
        results: one per test, in the problem's order.
        general_error: why no test could be run at all (a syntax error, no code); None otherwise.
        forgeable: whether the tests ran where the solution could change what they find.
    """

    results: tuple[TestResult, ...] = field(converter=_as_tuple)
    general_error: str | None = None
    forgeable: bool = False

    @property
    def passed(self) -> bool:
        """Whether there is a test, and every test passed."""
        return bool(self.results) and all(r.status is TestStatus.PASSED for r in self.results)

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that the solution imported in any test, in alphabetical order."""
        return tuple(sorted({package for r in self.results for package in r.packages}))

    @property
    def accuracy(self) -> float:
        """Share of the tests that passed, 0 where there are none."""
        if not self.results:
            return 0.0
        return sum(r.status is TestStatus.PASSED for r in self.results) / len(self.results)

    @property
    def sandbox_error(self) -> str | None:
        """Why the sandbox failed on a test; None where it did on none."""
        failed = (r for r in self.results if r.status is TestStatus.SANDBOX_ERROR)
        return next((test.error or "no cause given" for test in failed), None)


class Scorer(ABC):
    """Decides whether a solution is right. Subclasses take one argument, their options.

    The verdict must be reached in a process that the judged program never ran in, and expected
    values must never enter the program's process; a score that keeps neither is `Score.forgeable`.
    """

    Options: ClassVar[type]
    """The attrs class of this scorer's options."""

    def check(self, problem: Problem) -> None:  # noqa: B027 - a scorer may take any test
        """See that this scorer can judge by the tests of `problem`; runs nothing.

        Asked before the model is loaded, so that nobody decodes for hours what cannot be judged.

        Raises:
            UsageError: a test is of a kind that this scorer does not know, or is broken itself.
        """

    @abstractmethod
    def score(self, problem: Problem, code: str, sandbox: Sandbox) -> MaybeAwaitable[Score]:
        """Judge `code` (the whole program, given code included) by `Problem.scoring_tests`.

        Raises:
            SandboxError: the sandbox runs no program, not even an empty one.
            UsageError: a test is of a kind that this scorer does not know, or is broken itself.
        """
