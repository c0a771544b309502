"""Solves problems: opens the components that a configuration names, decodes, and judges.

For callers with an event loop; `egcfg.blocking` is for all others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

from attrs import evolve

from egcfg.bench import MadeAttempt, TaskBench
from egcfg.config import RunConfig
from egcfg.config.components import check_names, configured_sandbox, open_component
from egcfg.decoding.feedback import Feedback, why_unguided
from egcfg.decoding.settings import DecodingSettings
from egcfg.errors import EgcfgError, UsageError
from egcfg.evaluation.solution import judged_solution
from egcfg.interfaces.backend import Backend, Capabilities, LogprobBackend, budgeted
from egcfg.interfaces.guidance import GuidanceRule
from egcfg.interfaces.method import Configuration, Method
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import Prompt, PromptBuilder
from egcfg.interfaces.scorer import Score
from egcfg.interfaces.solution import (
    Generation,
    LineStep,
    Solution,
)
from egcfg.interfaces.tracer import Tracer
from egcfg.interfaces.usage import FREE, Usage
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import title_of
from egcfg.records.recorder import Recorder
from egcfg.sandbox import Sandbox
from egcfg.sandbox.counting import CountingSandbox
from egcfg.threads.loop_thread import LoopThread, require_asyncio
from egcfg.usage.budget import Meter
from egcfg.usage.model import Model
from egcfg.usage.needs import check_before_opening, check_opened, check_prompt

__all__ = ["Engine"]

logger = logging.getLogger(__name__)


class Engine:
    """Solves problems with one model, one tracer and one sandbox.

    A context manager, asynchronous or (for the blocking functions) not. The model is opened when it
    is first needed, everything cheap before it, so that a wrong name is told in milliseconds. An
    engine serves one event loop, asyncio's, on which several tasks may solve at the same time, and
    other engines as well. Closed, it refuses to do anything.

    Args:
        config: which components, with which options; None: the defaults.
        backend: a backend to use instead of the configured one; opened and closed here as well.
        tracer: a tracer to use instead of the configured one.
        guidance: a guidance rule to use instead of the configured one.
        method: a method to use instead of the configured one.
        prompt: a prompt builder to use where a call names none; None: the first configured one.
        sandbox: where programs run; None: one that is opened and closed here.
        meter: counts what is spent, and ends it at a budget's limit.
    """

    def __init__(
        self,
        config: RunConfig | None = None,
        *,
        backend: Backend | None = None,
        tracer: Tracer | None = None,
        guidance: GuidanceRule | None = None,
        method: Method | None = None,
        prompt: PromptBuilder | None = None,
        sandbox: Sandbox | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.config = config or RunConfig()
        self.meter = meter or Meter()
        self._given = {
            Kind.BACKEND: backend,
            Kind.TRACER: tracer,
            Kind.GUIDANCE: guidance,
            Kind.METHOD: method,
            Kind.PROMPT: prompt,
        }
        self._given_sandbox = sandbox
        self._components: dict[tuple[Kind, str], OpenComponent] = {}
        self._exits = AsyncExitStack()
        self._warned_unguided = self._closed = False
        self._opening: asyncio.Task[OpenComponent] | None = None
        self._sandbox: Sandbox | None = None
        self._backend: OpenComponent | None = None
        self._blocking: LoopThread | None = None

    @property
    def tracer(self) -> Tracer:
        """The tracer in use.

        Raises:
            UsageError: it cannot be opened as configured.
        """
        tracer: Tracer = self._component(Kind.TRACER, self.config.tracer).instance
        return tracer

    def prompt(self, problem: Problem, builder: str | None = None) -> Prompt:
        """Word a problem.

        Args:
            problem: what is asked.
            builder: name of the prompt builder; None: the engine's own.

        Raises:
            UsageError: there is no such builder, or it cannot be opened as configured.
            PluginError: it answers wrongly.
        """
        name = builder or self.config.prompt[0]
        component = self._component(Kind.PROMPT, name, given=builder is None)
        prompt = component.ask("build", problem, task=problem.task_id)
        if not isinstance(prompt, Prompt):
            raise component.broken(f"build gave {type(prompt).__name__}", problem.task_id)
        return prompt

    async def open(self) -> Backend:
        """Open the sandbox, then the model, unless they are open, and return the backend.

        Raises:
            UsageError: something is named or set wrong; found before the model is loaded.
            SandboxError: a known program is misjudged, or strict isolation lacks a layer.
            BackendError: the model cannot be opened.
        """
        backend: Backend = (await self._open()).instance
        return backend

    async def solve_steps(
        self,
        problem: Problem,
        settings: DecodingSettings | None = None,
        *,
        prompt: str | None = None,
        configurations: Sequence[Configuration] = (),
        tokens: int | None = None,
        deadline: float | None = None,
        on_note: Callable[[str, Mapping[str, Any]], None] | None = None,
        attempts_stand: bool = False,
        recorder: Recorder | None = None,
    ) -> AsyncGenerator[LineStep | MadeAttempt | Solution, None]:
        """Solve and judge `problem` by the configured method.

        Yields each line that is decided and each attempt that is made (the same answer again where
        another was no better), and last the solution. It may be left suspended at any of them, and
        gone on with in another asyncio task.

        Args:
            problem: what is asked.
            settings: how to decode; None: the defaults.
            prompt: name of the prompt builder; None: the engine's own.
            configurations: what a method that tries several has to choose from, in place of the
                two above.
            tokens: what the method may spend at most; None: as configured.
            deadline: when its last attempt stands, by `time.monotonic`; None: at its end.
            on_note: sees what the method notes, such as a decision, with its facts.
            attempts_stand: whether it also stands where the budget of all work ends.
            recorder: writes down what is done; None: nobody does.

        Raises:
            UsageError: a component cannot be used as asked, or the problem's tests are broken.
            ContextOverflowError: the first prompt does not fit the model's context.
            BackendError: the model did not answer.
            BudgetError: a limit is reached.
            SandboxError: the sandbox runs no program, not even an empty one.
        """
        configurations = configurations or [
            Configuration(settings=settings or DecodingSettings(), prompt=prompt)
        ]
        # Before the model works for minutes, see that a verdict can be had at all.
        scorer = self._component(Kind.SCORER, problem.scorer)
        scorer.ask("check", problem, task=problem.task_id)
        method = self._component(Kind.METHOD, self.config.method)
        prompts = {each.prompt: self.prompt(problem, each.prompt) for each in configurations}
        tracer = self._component(Kind.TRACER, self.config.tracer)
        rule = self._component(Kind.GUIDANCE, self.config.guidance)
        guided = _is_guided(method, configurations)
        check_before_opening(
            self._component(Kind.BACKEND, self.config.backend), method, guided=guided
        )
        backend = await self._open()
        check_opened(backend.instance, method, guided=guided)
        for each in prompts.values():
            check_prompt(backend.instance, each)
        assert self._sandbox is not None  # opened before the model
        started = datetime.now(UTC)
        limit, flag = self.config.tokens_per_task, "--tokens-per-task"
        if tokens is not None:
            limit, flag = tokens, "--tokens"
        model = Model(backend, problem.task_id, self.meter, limit, flag, deadline)
        sandbox = CountingSandbox(self._sandbox)
        bench = TaskBench(
            task=evolve(problem, hidden_tests=()),
            prompt=prompts[configurations[0].prompt],
            configurations=configurations,
            model=model,
            feedback=Feedback(tracer, sandbox, model),
            rule=rule,
            sandbox=sandbox,
            wording=self.prompt,
            scorer_of=partial(self._component, Kind.SCORER),
            recorder=recorder,
            on_note=on_note,
        )
        made: list[MadeAttempt] = []
        async with aclosing(bench.work(method, attempts_stand=attempts_stand)) as items:
            async for item in items:
                if isinstance(item, MadeAttempt) and item.new:
                    made.append(item)
                    if guided and item.attempt.generation is not None:
                        self._warn_unguided(problem, configurations[0], item.attempt.generation)
                yield item
        score = partial(self._score, problem)
        yield await judged_solution(problem, configurations[0], bench, made, started, score)

    def _warn_unguided(
        self, problem: Problem, configuration: Configuration, generation: Generation
    ) -> None:
        """Say once that a decoding was not guided although it was to be."""
        settings = configuration.settings
        reason = why_unguided(problem, settings, generation)
        if reason is not None and not self._warned_unguided:
            self._warned_unguided = True
            logger.warning(
                "task %s: nothing guided it, so gamma %g gave what gamma 0 does: %s; results count "
                "this as signals_empty, and no further task is warned about",
                problem.task_id,
                settings.gamma,
                reason,
            )

    async def _score(self, problem: Problem, program: str) -> Score:
        scorer = self._component(Kind.SCORER, problem.scorer)
        score = await scorer.call("score", problem, program, self._sandbox, task=problem.task_id)
        if not isinstance(score, Score):
            raise scorer.broken(f"score gave {type(score).__name__}", problem.task_id)
        return score

    async def solve(
        self,
        problem: Problem,
        settings: DecodingSettings | None = None,
        *,
        prompt: str | None = None,
        configurations: Sequence[Configuration] = (),
        tokens: int | None = None,
        deadline: float | None = None,
        on_step: Callable[[LineStep], None] | None = None,
        on_attempt: Callable[[MadeAttempt], None] | None = None,
        on_note: Callable[[str, Mapping[str, Any]], None] | None = None,
        recorder: Recorder | None = None,
    ) -> Solution:
        """Solve and judge `problem`.

        `on_step` sees each line as it is decided, `on_attempt` each answer that is another one than
        before. The other arguments are those of `solve_steps`.

        Raises:
            EgcfgError: as `solve_steps`.
        """
        steps_of = self.solve_steps(
            problem,
            settings,
            prompt=prompt,
            configurations=configurations,
            tokens=tokens,
            deadline=deadline,
            on_note=on_note,
            recorder=recorder,
        )
        async with aclosing(steps_of) as steps:
            async for step in steps:
                if isinstance(step, Solution):
                    return step
                if isinstance(step, LineStep):
                    if on_step is not None:
                        on_step(step)
                elif step.new and on_attempt is not None:
                    on_attempt(step)
        raise AssertionError("the last step is the solution")

    async def solve_samples(
        self,
        problem: Problem,
        settings: DecodingSettings | None = None,
        *,
        n: int,
        prompt: str | None = None,
        configurations: Sequence[Configuration] = (),
        **watched: Any,
    ) -> list[Solution]:
        """Solve `problem` `n` times side by side, each time with the next seed.

        What nothing random takes part in is the same each time: decoding at gamma 0 with
        `DecodingSettings.guided_temperature` 0.

        Args:
            problem: what is asked.
            settings: those of the first solution; None: the defaults.
            n: how many solutions.
            prompt: name of the prompt builder; None: the engine's own.
            configurations: as for `solve`.
            watched: `tokens` and `deadline` of each, `on_step`, `on_attempt` and `on_note`.

        Raises:
            EgcfgError: as `solve_steps`; the other solutions are then given up.
        """
        first = configurations or [
            Configuration(settings=settings or DecodingSettings(), prompt=prompt)
        ]
        seeded = [[each.with_seed(each.settings.seed + k) for each in first] for k in range(n)]
        require_asyncio()
        tasks = [
            asyncio.create_task(self.solve(problem, configurations=each, **watched))
            for each in seeded
        ]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def solve_in_turn(
        self,
        problem: Problem,
        attempts: Iterable[Sequence[Configuration]],
        *,
        tokens: int | None = None,
        **watched: Any,
    ) -> AsyncGenerator[Solution, None]:
        """Try one attempt after another: yield each solution, up to the first that passes.

        A budget may end the attempts early; what was yielded before stands.

        Args:
            problem: what is asked.
            attempts: the configurations of each call of `solve`; one is taken when its turn comes.
            tokens: what they may spend in all; None: as configured for each.
            watched: `deadline`, `on_step`, `on_attempt` and `on_note` of `solve`.

        Raises:
            EgcfgError: as `solve_steps`.
        """
        left = tokens
        for configurations in attempts:
            solution = await self.solve(
                problem, configurations=configurations, tokens=left, **watched
            )
            yield solution
            usage = solution.generation.total_usage
            if left is not None:
                left -= usage.tokens
            if solution.passed or "refused" in solution.events or (left is not None and left <= 0):
                return

    async def close(self) -> None:
        """Close what was opened here; closing again does nothing."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            # Its failure was told to whoever waited for it, if anybody still did.
            await asyncio.gather(self._opening, return_exceptions=True)
        self._backend = self._sandbox = self._opening = None
        self._components.clear()
        await self._exits.aclose()

    @property
    def blocking(self) -> LoopThread:
        """The loop on which the blocking functions `solve` and `solve_steps` use this engine."""
        if self._blocking is None:
            self._blocking = LoopThread()
        return self._blocking

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close what the blocking functions opened."""
        self._closed = True
        if self._blocking is None:
            return
        try:
            if not self._blocking.hangs:
                self._blocking.run(self.close())
        finally:
            self._blocking.close()
            self._blocking = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _open(self) -> OpenComponent:
        """Return the open backend. One task opens it, whoever else is cancelled meanwhile."""
        require_asyncio()
        self._refuse_if_closed()
        if self._opening is None or (self._opening.done() and self._backend is None):
            self._opening = asyncio.create_task(self._open_all())
        return await asyncio.shield(self._opening)

    async def _open_all(self) -> OpenComponent:
        self._check_names()
        if self._sandbox is None:
            self._sandbox = self._given_sandbox or configured_sandbox(self.config)
            if self._given_sandbox is None:
                self._exits.callback(self._sandbox.close)
            # One that lacks a layer (where all are asked for) or misjudges: told at once.
            await self._sandbox.canary()
        backend = self._component(Kind.BACKEND, self.config.backend)
        method = self._component(Kind.METHOD, self.config.method)
        check_before_opening(backend, method, guided=False)
        self._exits.push_async_callback(backend.call, "close")
        try:
            with budgeted(self.meter.check):
                usage = await backend.call("open")
        except EgcfgError as error:  # a backend may say on any of them what was spent
            self.meter.add(getattr(error, "usage", None) or FREE)
            raise
        if not isinstance(usage, Usage):
            raise backend.broken(f"open gave {type(usage).__name__}, not its Usage")
        self.meter.add(usage)
        backend.read("model_name", str)
        capabilities = backend.read("capabilities", Capabilities)
        if isinstance(backend.instance, LogprobBackend):
            backend.read("end_ids", frozenset)
        elif capabilities.logprobs:
            raise backend.broken("it promises log-probabilities, but is no LogprobBackend")
        check_opened(backend.instance, method, guided=False)
        self._backend = backend
        return backend

    def _refuse_if_closed(self) -> None:
        """See that the engine may be used.

        Raises:
            UsageError: it is closed.
        """
        if self._closed:
            raise UsageError("this engine is closed; make another egcfg.Engine")

    def _check_names(self) -> None:
        """See that every component is installed that is not given, before one is imported."""
        check_names(self.config, given=[k for k, v in self._given.items() if v is not None])

    def _component(self, kind: Kind, name: str, *, given: bool = True) -> OpenComponent:
        """Return a component in use: the one that was given, or else the one of that name."""
        self._refuse_if_closed()
        instance = self._given.get(kind) if given else None
        key = (kind, "" if instance is not None else name)
        if key not in self._components:
            if instance is None:
                instance = open_component(self.config, kind, name)
            component = OpenComponent(kind, instance, title_of(kind, instance))
            self._exits.callback(component.close)
            self._components[key] = component
        return self._components[key]


def _is_guided(method: OpenComponent, configurations: Sequence[Configuration]) -> bool:
    """Whether a method is asked to decode with guidance: at the gamma that it is given."""
    return method.read("over_grid", bool) and configurations[0].settings.gamma != 0.0
