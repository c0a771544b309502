"""Solving from Python: components by name or as instances, closed again where opened here."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack
from typing import Any, Final

from attrs import evolve

from egcfg.decoding.settings import DecodingSettings
from egcfg.engine import Engine
from egcfg.errors import ConfigError, did_you_mean
from egcfg.interfaces.backend import LogprobBackend
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import PromptBuilder
from egcfg.interfaces.solution import LineStep, Solution
from egcfg.interfaces.tracer import Tracer
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create, make_options
from egcfg.sandbox import Sandbox
from egcfg.usage.budget import Budget, Meter, MeteredBackend

__all__ = ["solve", "solve_steps"]

Options = Mapping[str, Mapping[str, Any]]
OPENED_KINDS: Final = tuple(
    kind.value for kind in (Kind.BACKEND, Kind.TRACER, Kind.PROMPT, Kind.SCORER)
)


def solve(
    problem: Problem,
    *,
    backend: LogprobBackend | str = "hf",
    tracer: Tracer | str = "full",
    prompt: PromptBuilder | str = "chat",
    sandbox: Sandbox | None = None,
    options: Options | None = None,
    budget: Budget | None = None,
    **settings: Any,
) -> Solution:
    """Solve one problem and judge the solution.

    Args:
        problem: what is asked.
        backend: the model; a name opens a new one and closes it at the end, so hand over an
            instance to solve many problems.
        tracer: a tracer or its name.
        prompt: a prompt builder or its name.
        sandbox: where programs run; None opens one for this call.
        options: per kind of component, options for those given by name, such as
            ``{"backend": {"model": "deepseek-ai/deepseek-coder-1.3b-instruct"}}``; those of
            ``"scorer"`` are for the problem's own.
        budget: what this call may cost at most.
        settings: fields of `DecodingSettings`, such as ``gamma=0.5``.

    Returns:
        The solution with its score, its code and what it cost.

    Raises:
        UsageError: an unknown name, option or setting, or a broken test.
        BackendError: the model did not answer.
        BudgetError: the budget was used up first.
        SandboxError: the sandbox failed twice on the same program.
    """
    steps = solve_steps(
        problem,
        backend=backend,
        tracer=tracer,
        prompt=prompt,
        sandbox=sandbox,
        options=options,
        budget=budget,
        **settings,
    )
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            solution: Solution = stop.value
            return solution


def solve_steps(
    problem: Problem,
    *,
    backend: LogprobBackend | str = "hf",
    tracer: Tracer | str = "full",
    prompt: PromptBuilder | str = "chat",
    sandbox: Sandbox | None = None,
    options: Options | None = None,
    budget: Budget | None = None,
    **settings: Any,
) -> Generator[LineStep, None, Solution]:
    """Solve one problem, yielding each line as it is decided; the solution is returned.

    Arguments and errors are those of `solve`. Closing the generator early ends what it opened.
    """
    decoding = make_options(DecodingSettings, settings, "solve")
    of_kind = options or {}
    _check_options(of_kind, {Kind.BACKEND: backend, Kind.TRACER: tracer, Kind.PROMPT: prompt})
    scorer_options = of_kind.get(Kind.SCORER, {})
    # Only to be refused before a model is loaded: the engine opens its own.
    create(Kind.SCORER, problem.scorer, scorer_options).check(problem)
    with ExitStack() as opened:
        engine = Engine(
            # The cheap ones first: a wrong name should not wait for a model to load.
            tracer=_component(Kind.TRACER, tracer, of_kind),
            prompt=_component(Kind.PROMPT, prompt, of_kind),
            sandbox=opened.enter_context(Sandbox()) if sandbox is None else sandbox,
            backend=_component(Kind.BACKEND, backend, of_kind),
            scorer_options=lambda _: scorer_options,
        )
        if isinstance(backend, str):
            opened.enter_context(engine.backend)
        if budget is not None:
            meter = Meter(budget, since=engine.backend.usage)
            engine = evolve(engine, backend=MeteredBackend(engine.backend, meter))
        return (yield from engine.solve_steps(problem, decoding))


def _check_options(options: Options, given: Mapping[Kind, object]) -> None:
    """Refuse options that nothing would read.

    Raises:
        ConfigError: for a kind that solving opens nothing of, or a component that is open already.
    """
    for kind in options:
        if kind not in OPENED_KINDS:
            known = did_you_mean(kind, OPENED_KINDS)
            raise ConfigError(f"solve takes no options for {kind!r}{known}")
        component = given.get(Kind(kind), "")
        if options[kind] and not isinstance(component, str):
            raise ConfigError(
                f"the {kind} is handed over as an instance, so options for it have no effect; "
                f"give them to {type(component).__qualname__}, or pass the {kind}'s name"
            )


def _component(kind: Kind, given: object, options: Options) -> Any:
    return create(kind, given, options.get(kind, {})) if isinstance(given, str) else given
