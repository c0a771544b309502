"""A scorer for smoke tests: whatever runs without an exception passes."""

from attrs import frozen

from egcfg import Score, Scorer, TestResult, TestStatus
from egcfg.interfaces.problem import find_call
from egcfg.sandbox import Call, Execution, Outcome


@frozen
class Options:
    """No options."""


class SurvivesScorer(Scorer):
    """Runs the call of each test, and does not look at its value."""

    Options = Options

    def __init__(self, options):
        self.options = options

    async def score(self, problem, code, sandbox):
        """Judge by outcomes alone."""
        tests = problem.scoring_tests
        executions = [
            Execution(source=code, call=Call(find_call(test.source, problem.entry_point)))
            for test in tests
        ]
        runs = await sandbox.run(executions)
        return Score(
            results=[
                TestResult(
                    name=test.name,
                    status=(
                        TestStatus.PASSED if result.outcome is Outcome.OK else TestStatus.ERROR
                    ),
                    seconds=result.seconds,
                    error=None if result.outcome is Outcome.OK else result.outcome.value,
                )
                for test, result in zip(tests, runs, strict=True)
            ]
        )
