"""A kind of test, that a call raises a certain exception, and the scorer that judges by it."""

from attrs import frozen

from egcfg import (
    Call,
    Execution,
    Limits,
    Outcome,
    Score,
    Scorer,
    TestCase,
    TestResult,
    TestStatus,
    TraceRequest,
)
from egcfg.errors import UsageError

ENDS = {Outcome.TIMEOUT: TestStatus.TIMEOUT, Outcome.MEMORY: TestStatus.MEMORY}


@frozen
class RaisesTest(TestCase):
    """A call raises an exception of a class.

    Attributes:
        call: the expression.
        error: name of the class; data that never enters the program's process.
    """

    call: str
    error: str

    @property
    def name(self):
        """The key of the verdict in results."""
        return f"{self.call} raises {self.error}"

    def executions(self, program):
        """Return what to run for a trace; the class is not part of it."""
        return [TraceRequest(source=program.source, setup=program.setup, call=self.call)]


@frozen
class Options:
    """Options of the scorer.

    Attributes:
        cpu_seconds: what each test may take.
    """

    cpu_seconds: float = 5.0


class RaisesScorer(Scorer):
    """Passes what raises the wanted exception."""

    Options = Options

    def __init__(self, options):
        self.options = options

    def check(self, problem):
        """Refuse, before a model is loaded, what cannot be judged."""
        for test in problem.scoring_tests:
            if not isinstance(test, RaisesTest):
                raise UsageError(f"only RaisesTest can be judged, not {type(test).__name__}")

    async def score(self, problem, code, sandbox):
        """Run each test in a process of its own; compare out here."""
        limits = Limits(cpu_seconds=self.options.cpu_seconds)
        executions = [
            Execution(source=code, setup=problem.setup_code, call=Call(test.call), limits=limits)
            for test in problem.scoring_tests
        ]
        found = await sandbox.run(executions)
        return Score(results=list(map(_verdict, problem.scoring_tests, found)))


def _verdict(test, result):
    raised = result.raised.type if result.raised is not None else "nothing"
    status = ENDS.get(result.outcome, TestStatus.FAILED)
    if result.outcome is Outcome.SANDBOX_ERROR:
        status = TestStatus.SANDBOX_ERROR
    elif result.outcome is Outcome.EXCEPTION and raised == test.error:
        status = TestStatus.PASSED
    return TestResult(
        name=test.name,
        status=status,
        seconds=result.seconds,
        error=None if status is TestStatus.PASSED else f"it raised {raised} ({result.outcome})",
        packages=result.packages,
    )
