"""The seam to methods: a task in, programs out, and a bench at which everything is done.

A method turns a task into a program by asking the model, running programs and decoding. It yields
an `Attempt` after each try, its best answer so far; the last one is its answer. Whatever costs
something goes through the `Bench`, which counts it by stage, and ends the method where the task's
budget ends: the last attempt then stands. A method never sees a hidden test.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar, Protocol, Self

from attrs import evolve, frozen

from egcfg.decoding.settings import PAPER, DecodingSettings, Policies
from egcfg.interfaces.problem import Task, TestCase
from egcfg.interfaces.prompt import ChatPrompt, Prompt, TextPrompt
from egcfg.interfaces.scorer import TestResult, TestStatus
from egcfg.interfaces.solution import Generation, LineStep, Signal
from egcfg.interfaces.tracer import Trace

__all__ = [
    "Attempt",
    "Bench",
    "Configuration",
    "Method",
    "Need",
    "PartialAnswer",
    "ProgramRun",
    "Reply",
]


class Need(enum.StrEnum):
    """What a method needs of a model besides text."""

    CHAT = "chat"
    LOGPROBS = "log-probabilities"


@frozen(kw_only=True)
class Attempt:
    """An answer of a method.

    Attributes:
        program: the whole program, given code included; empty where the model answered none.
        stage: which part of the method made it, such as ``"repair"``.
        generation: the decoding that it comes from, if it was decoded line by line.
    """

    program: str
    stage: str
    generation: Generation | None = None


@frozen(kw_only=True)
class Reply:
    """What a model answered.

    Attributes:
        text: the answer, without the prompt's prefix.
        finished: whether the model ended it, rather than a limit.
    """

    text: str
    finished: bool


@frozen(kw_only=True)
class PartialAnswer:
    """An answer to the task's own prompt, as far as it has come.

    Attributes:
        ids: its tokens.
        text: what they decode to.
        program: the executable program that it has come to, or once it is finished, its program;
            empty where there is none.
        finished: whether nothing more is to come.
    """

    ids: tuple[int, ...] = ()
    text: str = ""
    program: str = ""
    finished: bool = False


@frozen(kw_only=True)
class ProgramRun:
    """A program on tests; the verdicts were reached outside its process.

    Attributes:
        program: what ran.
        results: one verdict per test.
        outcomes: what each call or input of the tests led to, as text: a value, an exception, or
            the output. Programs with equal outcomes do the same there.
        traces: one per call or input, where they were asked for.
        cut: whether it was drawn from an answer that a limit ended within its code.
    """

    program: str
    results: tuple[TestResult, ...]
    outcomes: tuple[str, ...]
    traces: tuple[Trace, ...] = ()
    cut: bool = False

    @property
    def passed(self) -> bool:
        """Whether there is a test, and every one passed."""
        return bool(self.results) and self.share == 1.0

    @property
    def share(self) -> float:
        """Share of the tests that passed; 0 where there are none."""
        passed = sum(result.status is TestStatus.PASSED for result in self.results)
        return passed / len(self.results) if self.results else 0.0


@frozen(kw_only=True)
class Configuration:
    """One way of guided decoding.

    Attributes:
        settings: how to decode.
        prompt: name of the prompt builder; None: the engine's own.
    """

    settings: DecodingSettings
    prompt: str | None = None

    def with_seed(self, seed: int) -> Self:
        """Return the same with another seed."""
        return evolve(self, settings=evolve(self.settings, seed=seed))


class Bench(Protocol):
    """Where a method works on one task.

    Attributes:
        task: what is asked.
        prompt: the task as the configured prompt builder words it.
        configurations: what the run's configurations and gammas come to, in their order; the first
            one is what `decode` does by default.
    """

    task: Task
    prompt: Prompt
    configurations: Sequence[Configuration]

    @property
    def offers(self) -> frozenset[Need]:
        """What the model offers besides text."""

    @property
    def left(self) -> float:
        """Share of the task's token budget that is left; 1 where there is none."""

    async def ask(
        self,
        prompt: TextPrompt | ChatPrompt,
        *,
        stage: str,
        n: int = 1,
        temperature: float = 0.0,
        top_p: float = 0.95,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
    ) -> list[Reply]:
        """Ask the model for `n` answers.

        Args:
            prompt: what to ask.
            stage: what the cost is booked under.
            n: how many answers; at temperature 0 one is asked for, since all are the same.
            temperature: of the sampling; 0 takes the likeliest tokens.
            top_p: nucleus mass.
            max_tokens: tokens per answer at most; None: as configured.
            stop: texts that end an answer.

        Raises:
            TaskBudgetError: the task's budget is used up. Let it pass: the last attempt stands.
            BudgetError: the run's is.
            BackendError: the model did not answer.
        """

    async def draw(self, n: int = 1, *, stage: str, temperature: float = 0.0) -> list[str]:
        """Return the programs of `n` answers to the task's own prompt.

        Raises:
            BudgetError, BackendError: as `ask`.
        """

    async def extend(
        self,
        answers: Sequence[PartialAnswer],
        *,
        stage: str,
        lines: int | None = 1,
        temperature: float = 0.8,
    ) -> list[PartialAnswer]:
        """Continue answers to the task's own prompt, all side by side.

        Args:
            answers: how far they have come; a new one is ``PartialAnswer()``. What is finished
                stays as it is.
            stage: what the cost is booked under.
            lines: further lines; None: to the end.
            temperature: of the sampling.

        Raises:
            BudgetError, BackendError: as `ask`. The model must tell log-probabilities.
        """

    def program(self, reply: str, function: str | None = None) -> str:
        """Return the program in an answer; empty if there is none.

        Args:
            reply: the answer.
            function: what the program is to define; None: the task's entry point.
        """

    async def run(
        self,
        programs: Sequence[str],
        tests: Sequence[TestCase] | None = None,
        *,
        function: str | None = None,
        traces: bool = False,
    ) -> list[ProgramRun]:
        """Run programs on tests, all side by side.

        Args:
            programs: whole programs.
            tests: what to run them on, such as asserts that the model made; None: the visible
                tests.
            function: what `tests` are about; None: the task's entry point.
            traces: whether to trace them as well.

        Raises:
            UsageError: no assert among `tests` names the function.
            SandboxError: the sandbox failed twice on the same program.
        """

    async def signal(self, programs: Sequence[str], *, away: bool = False) -> Signal:
        """Run programs on the visible tests, and word what happened, for `decode`.

        Args:
            programs: whole programs; those that have no room in the signal are the last ones.
                None is run twice.
            away: whether guidance by it leads away from what it shows.

        Returns:
            The signal; its text is empty where nothing could be executed.

        Raises:
            SandboxError, BackendError: as `run` and `ask`.
        """

    def another(self) -> Self:
        """Return a bench at another task: the first of ``quickstart`` that is not this one.

        What is done there counts as this task's. It is for controls: what the same model wrote
        elsewhere is of the same kind, but tells nothing of this task.
        """

    def decode(
        self,
        configuration: Configuration | None = None,
        *,
        policies: Policies = PAPER,
        signal: Signal | None = None,
    ) -> AsyncIterator[LineStep | Generation]:
        """Decode line by line; the generation comes last.

        Args:
            configuration: how; None: the first one.
            policies: where to depart from the paper.
            signal: one that guides all of the answer, without any candidates; at a gamma below 0
                where it leads away. None: signals are made from candidates.

        Raises:
            BudgetError, BackendError, SandboxError: as `ask` and `run`.
        """

    def note(self, event: str, **facts: Any) -> None:
        """Count an event, such as an answer that could not be read, or what was decided.

        The count is kept in the result; the facts, JSON values, are for who watches (``--explain``)
        and for a record.
        """


class Method(ABC):
    """Turns tasks into programs. Subclasses take one argument, an instance of their options."""

    Options: ClassVar[type]
    """The attrs class of this method's options."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    """What it needs of a model besides text."""

    over_grid: ClassVar[bool] = False
    """Whether each configuration and gamma is a run of its own, rather than all one run's."""

    @abstractmethod
    def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Work on the bench's task; an asynchronous generator.

        Yields:
            Each line as it is decided, for whoever watches, and an attempt after each try: the best
            answer so far, the same one again where the try was no better. The last attempt is the
            answer. Where tasks take turns (``--schedule rounds``), each waits after an attempt.
        """
