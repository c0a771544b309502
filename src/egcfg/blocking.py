"""`solve` and `solve_steps` for callers without an event loop: scripts and notebooks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing, closing
from typing import Any

from egcfg.config import RunConfig
from egcfg.config.schema import OptionValue
from egcfg.decoding.settings import DecodingSettings
from egcfg.engine import Engine
from egcfg.errors import ConfigError, did_you_mean
from egcfg.interfaces.backend import Backend
from egcfg.interfaces.guidance import GuidanceRule
from egcfg.interfaces.method import Method
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import PromptBuilder
from egcfg.interfaces.solution import LineStep, Solution
from egcfg.interfaces.tracer import Tracer
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.options import make_options
from egcfg.sandbox import Sandbox
from egcfg.threads.loop_thread import LoopThread
from egcfg.usage.budget import Budget, Meter

__all__ = ["solve", "solve_steps"]

Options = Mapping[str, Mapping[str, Any]]


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
    guidance: GuidanceRule | str | None = None,
    method: Method | str | None = None,
    prompt: PromptBuilder | str | None = None,
    sandbox: Sandbox | None = None,
    options: Options | None = None,
    budget: Budget | None = None,
    tokens: int | None = None,
    seconds: float | None = None,
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
        guidance: a guidance rule or its name (``"cfg"``).
        method: a method or its name (``"egcfg"``).
        prompt: a prompt builder or its name (``"chat"``).
        sandbox: where programs run; None opens one for this call.
        options: per kind of component, options for those given by name, such as
            ``{"backend": {"model": "deepseek-ai/deepseek-coder-1.3b-instruct"}}``; those of
            ``"scorer"`` are for the problem's own.
        budget: what this call may cost at most; its end is an error.
        tokens: that the method may spend, as `Usage.tokens` counts: then its last answer stands.
        seconds: how long it may take, loading the model included; likewise.
        settings: fields of `DecodingSettings`, such as ``gamma=0.5``.

    Raises:
        UsageError: an unknown name, option or setting, or a broken test.
        BackendError: the model did not answer.
        BudgetError: the budget was used up first.
        SandboxError: the sandbox runs no program, not even an empty one.
    """
    decoding = make_options(DecodingSettings, settings, "solve")
    deadline = None if seconds is None else time.monotonic() + seconds
    limits: dict[str, Any] = {"tokens": tokens, "deadline": deadline}
    given: dict[str, Any] = {
        "backend": backend,
        "tracer": tracer,
        "guidance": guidance,
        "method": method,
        "prompt": prompt,
        "sandbox": sandbox,
        "options": options,
        "budget": budget,
    }
    if engine is None:
        once = _solve_once(_new_engine(**given), problem, decoding, **limits)
        with closing(LoopThread()) as loop:
            yield from loop.iterate(once)
        return
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"the engine has its {name} already; leave {name} out")
    yield from engine.blocking.iterate(_lines(engine, problem, decoding, **limits))


async def _solve_once(
    engine: Engine, problem: Problem, settings: DecodingSettings, **limits: Any
) -> AsyncGenerator[LineStep | Solution, None]:
    async with engine, aclosing(_lines(engine, problem, settings, **limits)) as steps:
        async for step in steps:
            yield step


async def _lines(
    engine: Engine, problem: Problem, settings: DecodingSettings, **limits: Any
) -> AsyncGenerator[LineStep | Solution, None]:
    async with aclosing(engine.solve_steps(problem, settings, **limits)) as steps:
        async for step in steps:
            if isinstance(step, LineStep | Solution):
                yield step


def _new_engine(
    *,
    backend: Backend | str | None,
    tracer: Tracer | str | None,
    guidance: GuidanceRule | str | None,
    method: Method | str | None,
    prompt: PromptBuilder | str | None,
    sandbox: Sandbox | None,
    options: Options | None,
    budget: Budget | None,
) -> Engine:
    """Return an engine of components by name or as instances.

    Raises:
        ConfigError: there are options that nothing would read.
    """
    given = {
        Kind.BACKEND: backend,
        Kind.TRACER: tracer,
        Kind.GUIDANCE: guidance,
        Kind.METHOD: method,
        Kind.PROMPT: prompt,
        Kind.SCORER: None,
    }
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
        guidance=None if isinstance(guidance, str) else guidance,
        method=None if isinstance(method, str) else method,
        prompt=None if isinstance(prompt, str) else prompt,
        sandbox=sandbox,
        meter=None if budget is None else Meter(budget),
    )
