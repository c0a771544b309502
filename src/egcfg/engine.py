"""Everything that solving needs, opened once: backend, tracer, prompt builder, sandbox."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from attrs import frozen

from egcfg.decoding.feedback import SignalBuilder
from egcfg.decoding.loop import Decoder
from egcfg.decoding.settings import DecodingSettings
from egcfg.interfaces.backend import LogprobBackend
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import PromptBuilder
from egcfg.interfaces.scorer import Scorer
from egcfg.interfaces.solution import Generation, LineStep, Solution
from egcfg.interfaces.tracer import Tracer
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox

__all__ = ["Engine"]


@frozen
class Engine:
    """Solves problems with one model, one tracer and one way of wording."""

    backend: LogprobBackend
    tracer: Tracer
    prompt: PromptBuilder
    sandbox: Sandbox
    scorer_options: Callable[[str], Mapping[str, Any]] = lambda _: {}
    """Gives the options of the scorer of that name; none by default."""

    def steps(
        self, problem: Problem, settings: DecodingSettings
    ) -> Generator[LineStep, None, Generation]:
        """Decode `problem`, yielding each line as it is decided; the generation is returned.

        Raises:
            ContextOverflowError: the bare prompt does not fit the model's context.
            BackendError: the model did not answer.
            SandboxError: the sandbox failed twice on the same program.
        """
        prompt = self.prompt.build(problem, self.backend.render_chat)
        signals = SignalBuilder(self.tracer, self.sandbox, self.backend.count_tokens)
        return Decoder(self.backend, signals, problem, prompt, settings).run()

    def solve_steps(
        self, problem: Problem, settings: DecodingSettings
    ) -> Generator[LineStep, None, Solution]:
        """Decode and judge `problem`, yielding each line as it is decided.

        Returns (as the generator's value):
            The judged solution.

        Raises:
            UsageError: the problem's scorer does not exist, or its tests are broken.
            EgcfgError: as `steps`.
        """
        # Before the model works for minutes, see that a verdict can be had at all.
        scorer: Scorer = create(Kind.SCORER, problem.scorer, self.scorer_options(problem.scorer))
        scorer.check(problem)
        started = datetime.now(UTC)
        generation = yield from self.steps(problem, settings)
        score = scorer.score(problem, generation.code, self.sandbox)
        return Solution(
            task_id=problem.task_id,
            settings=settings,
            generation=generation,
            score=score,
            started=started,
            ended=datetime.now(UTC),
        )

    def solve(
        self,
        problem: Problem,
        settings: DecodingSettings,
        on_step: Callable[[LineStep], None] | None = None,
    ) -> Solution:
        """Decode and judge `problem`; `on_step` sees each line as it is decided.

        Raises:
            EgcfgError: as `solve_steps`.
        """
        steps = self.solve_steps(problem, settings)
        while True:
            try:
                step = next(steps)
            except StopIteration as stop:
                solution: Solution = stop.value
                return solution
            if on_step is not None:
                on_step(step)

    def close(self) -> None:
        """End the backend and the sandbox."""
        self.backend.close()
        self.sandbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
