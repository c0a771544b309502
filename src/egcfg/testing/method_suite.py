"""What every method must keep."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar

from attrs import evolve, frozen

from egcfg.config import RunConfig
from egcfg.decoding.settings import DecodingSettings
from egcfg.engine import Engine
from egcfg.interfaces.backend import Backend, ScoreRequest
from egcfg.interfaces.method import Need
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.solution import LineStep, Solution
from egcfg.plugins.hookspecs import Kind
from egcfg.testing.answering import AnsweringBackend
from egcfg.testing.examples import RIGHT, WRONG
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg.testing.suite import SandboxedSuite, require

__all__ = ["MethodSuite"]

SECRET = 7717
"""Part of the hidden test, and of nothing else."""

PROBLEM = Problem(
    task_id="conformance",
    description="Double a number.",
    entry_point="f",
    visible_tests=[AssertTest("assert f(2) == 4"), AssertTest("assert f(0) == 0")],
    hidden_tests=[AssertTest(f"assert f({SECRET}) == {2 * SECRET}")],
)


class MethodSuite(SandboxedSuite):
    """Checks of a method, with models that follow a script: a good one, and two that are not."""

    kind = Kind.METHOD

    answers: ClassVar[Sequence[str]] = (f"```python\n{RIGHT}```\n",)
    """What leads the method to a right program, for one that asks for more than a program."""

    _solved: ClassVar[dict[Sequence[str], _Solved]]

    @classmethod
    def setup_class(cls) -> None:
        """Make the method, which has solved nothing yet."""
        super().setup_class()
        cls._solved = {}

    def solve(
        self,
        answers: Sequence[str] = (),
        *,
        problem: Problem = PROBLEM,
        tokens: int | None = 20_000,
    ) -> _Solved:
        """Solve a problem with a model that gives these answers, the last one for ever."""
        answers = answers or self.answers
        backend: Backend
        if self.component.over_grid or Need.LOGPROBS in self.component.needs:
            backend = ScriptedBackend(ScriptedOptions(script=_script(answers[-1]), noise=0.05))
        else:
            backend = AnsweringBackend(AnsweringBackend.Options(answers))
        return self.run(self._solve(backend, problem, tokens))

    def solve_once(self, answers: Sequence[str] = ()) -> _Solved:
        """Do the same, where no other check has done it with these answers."""
        if answers not in self._solved:
            self._solved[answers] = self.solve(answers)
        return self._solved[answers]

    async def _solve(self, backend: Backend, problem: Problem, tokens: int | None) -> _Solved:
        parts: dict[str, Any] = {"backend": backend, "method": self.component}
        settings = DecodingSettings(gamma=0.5, max_tokens=200)
        async with Engine(RunConfig(), **parts, sandbox=self.sandbox) as engine:
            told = _Warnings()
            logging.getLogger("egcfg").addHandler(told)
            try:
                steps = engine.solve_steps(problem, settings, tokens=tokens)
                kinds = [step async for step in steps]
            finally:
                logging.getLogger("egcfg").removeHandler(told)
        solution = kinds[-1]
        assert isinstance(solution, Solution)
        lines = sum(isinstance(step, LineStep) for step in kinds)
        return _Solved(solution, tuple(_asked(backend)), lines, tuple(told.messages))

    def test_right_answers_lead_to_a_right_program(self) -> None:
        """With a model that is right, the task is solved."""
        solution = self.solve_once().solution
        require(
            solution.passed,
            f"the model answers a right program, and the method's answer is {solution.code!r}: "
            "yield an Attempt with the program of bench.program(reply.text), or set `answers` to "
            "what your method asks for",
        )

    def test_a_hidden_test_reaches_no_prompt(self) -> None:
        """The model is told of visible tests only."""
        for answers in ((), (f"```python\n{WRONG}```\n",)):
            asked = self.solve_once(answers).asked
            require(
                not any(str(SECRET) in text for text in asked),
                "a prompt tells a hidden test: use bench.task and what bench.run gives",
            )

    def test_answers_without_a_program_are_no_error(self) -> None:
        """A model that talks, or says nothing, leaves the task unsolved."""
        for answer in ("I am sorry.\n", "```python\ndef f(:\n```\n", " \n"):
            require(
                not self.solve((answer,)).solution.passed,
                f"the answer {answer!r} solves the task: that cannot be",
            )

    def test_a_wrong_program_is_not_the_end(self) -> None:
        """A model that is always wrong leads to its own end, not to an error."""
        solution = self.solve_once((f"```python\n{WRONG}```\n",)).solution
        require(not solution.passed, "a wrong program passes: that cannot be")
        require(solution.attempts, "there is no Attempt: yield one after each try")

    def test_it_ends_where_its_budget_does(self) -> None:
        """A `TaskBudgetError` is let through, and the last attempt stands."""
        solved = self.solve((f"```python\n{WRONG}```\n",), tokens=250)
        late = [text for text in solved.warnings if "went on asking" in text]
        require(
            not late,
            "it goes on asking after its budget is used up: let TaskBudgetError pass",
        )

    def test_it_works_without_visible_tests(self) -> None:
        """Where there is nothing to run, an answer is given all the same."""
        solution = self.solve(problem=evolve(PROBLEM, visible_tests=[])).solution
        require(
            solution.attempts,
            "without visible tests there is no Attempt: yield the first answer, since "
            "ProgramRun.passed is False then",
        )

    def test_the_same_task_has_the_same_attempts(self) -> None:
        """A run that is repeated with the same model gives the same programs."""
        wrong = (f"```python\n{WRONG}```\n",)
        first, again = (
            [attempt.program for attempt in solve(wrong).solution.attempts]
            for solve in (self.solve_once, self.solve)
        )
        require(
            first == again,
            "the attempts differ the second time: keep nothing in the instance, which serves all "
            "tasks, and draw with the settings' seed",
        )


@frozen
class _Solved:
    """What came of a task.

    Attributes:
        solution: the judged answer.
        asked: the text of each prompt.
        lines: lines that were decided.
        warnings: what was logged.
    """

    solution: Solution
    asked: tuple[str, ...]
    lines: int
    warnings: tuple[str, ...]


class _Warnings(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _asked(backend: Backend) -> list[str]:
    if isinstance(backend, AnsweringBackend):
        return [prompt.text for prompt, _ in backend.asked]
    assert isinstance(backend, ScriptedBackend)
    requests: list[ScoreRequest] = backend.scored
    return [bytes(request.ids).decode("ascii") for request in requests]


def _script(answer: str) -> Any:
    """Follow an answer after the prompt that asked for it."""

    def next_text(text: str) -> str:
        so_far = text.rpartition("```python\n")[2]
        program = answer.removeprefix("```python\n")
        return program[len(so_far) :] if program.startswith(so_far) else ""

    return next_text
