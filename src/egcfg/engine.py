"""Solves problems: opens the components that a configuration names, decodes, and judges.

One public class, `Engine`, for callers with an event loop, and two blocking functions, `solve` and
`solve_steps`, for all others.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing, closing
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from egcfg.blocking import LoopThread
from egcfg.config import RunConfig
from egcfg.config.components import check_names, configured_sandbox, open_component
from egcfg.config.schema import OptionValue
from egcfg.decoding.feedback import Feedback, why_unguided
from egcfg.decoding.loop import decode
from egcfg.decoding.settings import DecodingSettings
from egcfg.errors import BackendError, CapabilityError, ConfigError, did_you_mean
from egcfg.interfaces.backend import FREE, Backend, Capabilities, LogprobBackend, Usage
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import Prompt, PromptBuilder
from egcfg.interfaces.scorer import Score
from egcfg.interfaces.solution import Generation, LineStep, Solution
from egcfg.interfaces.tracer import Tracer
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.options import make_options
from egcfg.plugins.registry import title_of
from egcfg.sandbox import Sandbox
from egcfg.usage.budget import Budget, Meter
from egcfg.usage.model import Model

__all__ = ["Engine", "solve", "solve_steps"]

logger = logging.getLogger(__name__)

Options = Mapping[str, Mapping[str, Any]]


class Engine:
    """Solves problems with one model, one tracer and one sandbox.

    A context manager, asynchronous or (for the blocking functions) not. The model is opened when it
    is first needed, everything cheap before it, so that a wrong name is told in milliseconds. An
    engine serves one event loop, on which several tasks may solve at the same time.

    Args:
        config: which components, with which options; None: the defaults.
        backend: a backend to use instead of the configured one; opened and closed here as well.
        tracer: a tracer to use instead of the configured one.
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
        prompt: PromptBuilder | None = None,
        sandbox: Sandbox | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.config = config or RunConfig()
        self.meter = meter or Meter()
        self._given = {Kind.BACKEND: backend, Kind.TRACER: tracer, Kind.PROMPT: prompt}
        self._given_sandbox = sandbox
        self._components: dict[tuple[Kind, str], OpenComponent] = {}
        self._exits = AsyncExitStack()
        self._warned_unguided = False
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
    ) -> AsyncGenerator[LineStep | Solution, None]:
        """Decode and judge `problem`: yield each line as it is decided, and last the solution.

        Args:
            problem: what is asked.
            settings: how to decode; None: the defaults.
            prompt: name of the prompt builder; None: the engine's own.

        Raises:
            UsageError: a component cannot be used as asked, or the problem's tests are broken.
            ContextOverflowError: the bare prompt does not fit the model's context.
            BackendError: the model did not answer.
            BudgetError: a limit is reached.
            SandboxError: the sandbox runs no program, not even an empty one.
        """
        settings = settings or DecodingSettings()
        # Before the model works for minutes, see that a verdict can be had at all.
        scorer = self._component(Kind.SCORER, problem.scorer)
        scorer.ask("check", problem, task=problem.task_id)
        worded = self.prompt(problem, prompt)
        tracer = self._component(Kind.TRACER, self.config.tracer)
        _check_guided(self._component(Kind.BACKEND, self.config.backend), settings)
        backend = await self._open()
        _check_open(backend.instance, worded, settings)
        assert self._sandbox is not None  # opened before the model
        started = datetime.now(UTC)
        model = Model(backend, problem.task_id, self.meter)
        feedback = Feedback(tracer, self._sandbox, model)
        async with aclosing(decode(model, feedback, problem, worded, settings)) as steps:
            async for step in steps:
                if isinstance(step, Generation):
                    generation = step
                else:
                    yield step
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
        score = await scorer.call(
            "score", problem, generation.code, self._sandbox, task=problem.task_id
        )
        if not isinstance(score, Score):
            raise scorer.broken(f"score gave {type(score).__name__}", problem.task_id)
        yield Solution(
            task_id=problem.task_id,
            settings=settings,
            generation=generation,
            score=score,
            tests_seen=tuple(test.name for test in problem.visible_tests),
            isolation=(await self._sandbox.report()).findings,
            started=started,
            ended=datetime.now(UTC),
        )

    async def solve(
        self,
        problem: Problem,
        settings: DecodingSettings | None = None,
        *,
        prompt: str | None = None,
        on_step: Callable[[LineStep], None] | None = None,
    ) -> Solution:
        """Decode and judge `problem`; `on_step` sees each line as it is decided.

        Raises:
            EgcfgError: as `solve_steps`.
        """
        async with aclosing(self.solve_steps(problem, settings, prompt=prompt)) as steps:
            async for step in steps:
                if isinstance(step, Solution):
                    return step
                if on_step is not None:
                    on_step(step)
        raise AssertionError("the last step is the solution")

    async def solve_in_turn(
        self,
        problem: Problem,
        attempts: Iterable[tuple[DecodingSettings, str]],
        *,
        on_step: Callable[[LineStep], None] | None = None,
    ) -> AsyncGenerator[Solution, None]:
        """Try one attempt after another: yield each solution, up to the first that passes.

        A budget may end the attempts early; what was yielded before stands.

        Args:
            problem: what is asked.
            attempts: settings, each with the name of a prompt builder; one is taken when its turn
                comes.
            on_step: sees each line as it is decided.

        Raises:
            EgcfgError: as `solve_steps`.
        """
        for settings, prompt in attempts:
            solution = await self.solve(problem, settings, prompt=prompt, on_step=on_step)
            yield solution
            if solution.passed:
                return

    async def close(self) -> None:
        """Close what was opened here; closing again does nothing."""
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
        self._exits.push_async_callback(backend.call, "close")
        try:
            usage = await backend.call("open")
        except BackendError as error:
            self.meter.add(error.usage or FREE)
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
        self._backend = backend
        return backend

    def _check_names(self) -> None:
        """See that every component is installed that is not given, before one is imported."""
        check_names(self.config, given=[k for k, v in self._given.items() if v is not None])

    def _component(self, kind: Kind, name: str, *, given: bool = True) -> OpenComponent:
        """Return a component in use: the one that was given, or else the one of that name."""
        instance = self._given.get(kind) if given else None
        key = (kind, "" if instance is not None else name)
        if key not in self._components:
            if instance is None:
                instance = open_component(self.config, kind, name)
            component = OpenComponent(kind, instance, title_of(kind, instance))
            self._exits.callback(component.close)
            self._components[key] = component
        return self._components[key]


def _check_guided(backend: OpenComponent, settings: DecodingSettings) -> None:
    """See, before it is opened, that a backend can decode as the settings say.

    Raises:
        CapabilityError: it cannot.
    """
    if settings.gamma != 0.0 and not isinstance(backend.instance, LogprobBackend):
        raise CapabilityError(
            f"{backend.title} tells no log-probabilities, which guidance needs; "
            "use --gamma 0, or choose another --backend"
        )


def _check_open(backend: Backend, prompt: Prompt, settings: DecodingSettings) -> None:
    """See that an open backend takes such a prompt and can decode as the settings say.

    Raises:
        CapabilityError: it cannot.
    """
    capabilities = backend.capabilities
    if settings.gamma != 0.0 and not capabilities.logprobs:
        raise CapabilityError(
            f"{backend.model_name} tells no log-probabilities, which guidance needs; "
            "use --gamma 0, or choose another --backend or model"
        )
    if prompt.chat and not capabilities.chat:
        raise CapabilityError(
            f"{backend.model_name} has no chat template; choose another prompt: "
            "--prompt long_code or --prompt completion"
        )
    if not prompt.chat and not capabilities.text:
        raise CapabilityError(
            f"{backend.model_name} takes chats only; choose another prompt: --prompt chat"
        )


# --- blocking -----------------------------------------------------------------------------------


def solve(problem: Problem, **arguments: Any) -> Solution:
    """Solve one problem and judge the solution; blocks until then.

    Works inside a running event loop, too, as in a notebook. Ctrl-C cancels.

    Args:
        problem: what is asked.
        arguments: those of `solve_steps`.

    Returns:
        The solution with its score, its code and what it cost.

    Raises:
        EgcfgError: as `solve_steps`.
    """
    [last] = deque(solve_steps(problem, **arguments), maxlen=1)
    assert isinstance(last, Solution)
    return last


def solve_steps(
    problem: Problem,
    *,
    engine: Engine | None = None,
    backend: Backend | str | None = None,
    tracer: Tracer | str | None = None,
    prompt: PromptBuilder | str | None = None,
    sandbox: Sandbox | None = None,
    options: Options | None = None,
    budget: Budget | None = None,
    **settings: Any,
) -> Generator[LineStep | Solution, None, None]:
    """Solve one problem: yield each line as it is decided, and last the solution.

    Closing the generator early cancels what runs and closes what was opened.

    Args:
        problem: what is asked.
        engine: what to solve with, to solve many problems with one open model; None: a new one of
            the arguments below, closed at the end.
        backend: the model: a backend's name (``"hf"`` by default), or an instance.
        tracer: a tracer or its name (``"full"``).
        prompt: a prompt builder or its name (``"chat"``).
        sandbox: where programs run; None opens one for this call.
        options: per kind of component, options for those given by name, such as
            ``{"backend": {"model": "deepseek-ai/deepseek-coder-1.3b-instruct"}}``; those of
            ``"scorer"`` are for the problem's own.
        budget: what this call may cost at most.
        settings: fields of `DecodingSettings`, such as ``gamma=0.5``.

    Raises:
        UsageError: an unknown name, option or setting, or a broken test.
        BackendError: the model did not answer.
        BudgetError: the budget was used up first.
        SandboxError: the sandbox runs no program, not even an empty one.
    """
    decoding = make_options(DecodingSettings, settings, "solve")
    given: dict[str, Any] = {
        "backend": backend,
        "tracer": tracer,
        "prompt": prompt,
        "sandbox": sandbox,
        "options": options,
        "budget": budget,
    }
    if engine is None:
        with closing(LoopThread()) as loop:
            yield from loop.iterate(_solve_once(_new_engine(**given), problem, decoding))
        return
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"the engine has its {name} already; leave {name} out")
    yield from engine.blocking.iterate(engine.solve_steps(problem, decoding))


async def _solve_once(
    engine: Engine, problem: Problem, settings: DecodingSettings
) -> AsyncGenerator[LineStep | Solution, None]:
    async with engine, aclosing(engine.solve_steps(problem, settings)) as steps:
        async for step in steps:
            yield step


def _new_engine(
    *,
    backend: Backend | str | None,
    tracer: Tracer | str | None,
    prompt: PromptBuilder | str | None,
    sandbox: Sandbox | None,
    options: Options | None,
    budget: Budget | None,
) -> Engine:
    """Return an engine of components by name or as instances.

    Raises:
        ConfigError: there are options that nothing would read.
    """
    given = {Kind.BACKEND: backend, Kind.TRACER: tracer, Kind.PROMPT: prompt, Kind.SCORER: None}
    values = []
    for name, of_kind in (options or {}).items():
        if name not in list(given):
            known = did_you_mean(name, [kind.value for kind in given])
            raise ConfigError(f"solve takes no options for {name!r}{known}")
        kind = Kind(name)
        if of_kind and not isinstance(given[kind], str | None):
            raise ConfigError(
                f"the {kind} is handed over as an instance, so options for it have no effect; give "
                f"them to {type(given[kind]).__qualname__}, or pass the {kind}'s name"
            )
        values += [
            OptionValue(kind=kind, component="", name=o, value=v, origin=f"options[{name!r}]")
            for o, v in of_kind.items()
        ]
    names: dict[str, Any] = {
        kind.value: (value,) if kind is Kind.PROMPT else value
        for kind, value in given.items()
        if isinstance(value, str)
    }
    return Engine(
        RunConfig(**names, options=tuple(values)),
        backend=None if isinstance(backend, str) else backend,
        tracer=None if isinstance(tracer, str) else tracer,
        prompt=None if isinstance(prompt, str) else prompt,
        sandbox=sandbox,
        meter=None if budget is None else Meter(budget),
    )
