"""Judges by the exceptions that calls end in."""

from attrs import frozen

from egcfg import Score, Scorer, TestResult, TestStatus
from egcfg.errors import UsageError
from egcfg.sandbox import Call, Execution
from egcfg_raising.dataset import RaisesTest


class RaisingScorer(Scorer):
    """Runs each call and compares what it raised, here, where the program never was."""

    @frozen
    class Options:
        """No options."""

    def __init__(self, options):
        self.options = options

    def check(self, problem):
        """See that every test says what a call raises."""
        for test in problem.scoring_tests:
            if not isinstance(test, RaisesTest):
                raise UsageError(f"task {problem.task_id}: {test.name} is no test of raising")

    async def score(self, problem, code, sandbox):
        """Judge by the names of exceptions."""
        tests = problem.scoring_tests
        runs = await sandbox.run([Execution(source=code, call=Call(t.call)) for t in tests])
        return Score(results=[_judge(*pair) for pair in zip(tests, runs, strict=True)])


def _judge(test, run):
    raised = run.raised.type if run.raised is not None else ""
    passed = raised == test.exception
    return TestResult(
        name=test.name,
        status=TestStatus.PASSED if passed else TestStatus.FAILED,
        seconds=run.seconds,
        error=None if passed else f"it raised {raised or 'nothing'}",
    )
