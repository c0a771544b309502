"""What every data set must keep."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from egcfg.errors import EgcfgError, UsageError
from egcfg.interfaces.problem import Problem, Program, TestCase
from egcfg.interfaces.tracer import TraceRequest
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.testing.suite import Suite, require

__all__ = ["DatasetSuite"]


class DatasetSuite(Suite):
    """Checks of a data set; a file that it reads is given in `options`.

    Attributes:
        problems: what it holds.
    """

    kind = Kind.DATASET
    problems: ClassVar[list[Problem]]

    @classmethod
    def setup_class(cls) -> None:
        """Read the problems."""
        super().setup_class()
        cls.problems = cls.call("problems")

    def test_it_holds_problems(self) -> None:
        """``problems`` gives a list of `Problem` values."""
        require(
            isinstance(self.problems, list) and self.problems,
            f"problems gave {type(self.problems).__name__} of no problem: return a list",
        )
        for number, problem in enumerate(self.problems):
            require(
                isinstance(problem, Problem),
                f"item {number} of problems is {type(problem).__name__}: make an egcfg.Problem",
            )

    def test_task_ids_differ(self) -> None:
        """Results are kept by task id."""
        counted = Counter(problem.task_id for problem in self.problems)
        repeated = [name for name, count in counted.items() if count > 1][:5]
        require(not repeated, f"the task ids {repeated} are there twice: make them differ")

    def test_it_is_the_same_each_time(self) -> None:
        """A run that is started again finds the same problems in the same order."""
        require(
            self.call("problems") == self.problems,
            "problems gives others the second time: keep their order, and draw with a fixed seed",
        )

    def test_each_problem_asks_something(self) -> None:
        """There is a description, and a test to score by."""
        for problem in self.problems:
            require(
                problem.description.strip() or problem.given_code.strip(),
                f"task {problem.task_id} has neither description nor given_code",
            )
            require(problem.scoring_tests, f"task {problem.task_id} has no test to score by")

    def test_its_scorer_takes_its_tests(self) -> None:
        """The scorer that a problem names is installed and can judge by its tests."""
        scorers = {name: create(Kind.SCORER, name) for name in {p.scorer for p in self.problems}}
        for problem in self.problems:
            try:
                scorers[problem.scorer].check(problem)
            except UsageError as error:
                raise AssertionError(
                    f"the scorer {problem.scorer!r} refuses task {problem.task_id}: {error}; mend "
                    "the test, or name another scorer in Problem(scorer=...)"
                ) from error

    def test_tests_have_names_that_differ(self) -> None:
        """Verdicts are kept by the test's name."""
        for problem in self.problems:
            for tests in (problem.visible_tests, problem.scoring_tests):
                names = [test.name for test in tests if type(test).__module__ != _OWN]
                require(
                    len(set(names)) == len(names),
                    f"task {problem.task_id} has tests of the same name: tell in TestCase.name "
                    "what differs",
                )

    def test_visible_tests_can_be_traced(self) -> None:
        """``executions`` of a visible test says what to run, with the program as it is."""
        program = "def f(*arguments):\n    return arguments\n"
        for problem in self.problems:
            for test in problem.visible_tests:
                require(
                    isinstance(test, TestCase) and test.may_be_visible,
                    f"task {problem.task_id}: {test!r} is no test that may be visible",
                )
                try:
                    found = test.executions(Program(program, problem.entry_point))
                except EgcfgError as error:
                    raise AssertionError(
                        f"task {problem.task_id}: executions raised {error}"
                    ) from error
                require(
                    all(isinstance(e, TraceRequest) and e.source == program for e in found),
                    f"task {problem.task_id}: executions of {test.name!r} changes the program: "
                    "put what runs before it into TraceRequest.setup",
                )


_OWN = "egcfg.interfaces.problem"
"""Equal tests of a published data set keep a verdict each."""
