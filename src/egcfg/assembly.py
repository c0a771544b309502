"""Opens what a configuration names: cheap checks first, the model last.

The order matters to the user: a misspelt name, a missing file or a wrong option is told in
milliseconds, not after a model was loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrs import define, evolve, field

from egcfg.config import RunConfig, SandboxMode
from egcfg.datasets.selection import open_dataset, select
from egcfg.engine import Engine
from egcfg.guidance.cfg import guidance_rule
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.scorer import Scorer
from egcfg.offline_model import OfflineModel
from egcfg.plugins.component_options import component_options, lacks_mbpp_examples
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create, make_options, offline_class, options_class, registry
from egcfg.runs.plan import signal_configs
from egcfg.sandbox import Sandbox
from egcfg.usage.budget import Meter, MeteredBackend

__all__ = [
    "Engines",
    "check_names",
    "check_scorers",
    "model_label",
    "offline_model",
    "open_component",
    "open_engine",
    "open_problems",
    "open_sandbox",
]

logger = logging.getLogger(__name__)


def check_names(config: RunConfig) -> None:
    """See that every component that `config` names is installed; imports none of them.

    Raises:
        UnknownNameError: one is not, or there is no such guidance rule.
        PluginError: the plugin that would bring it is broken.
    """
    known = registry()
    known.get(Kind.BACKEND, config.backend)
    known.get(Kind.TRACER, config.tracer)
    for signal in signal_configs(config):
        known.get(Kind.PROMPT, signal.prompt)
    if config.scorer is not None:
        known.get(Kind.SCORER, config.scorer)
    for option in config.options:
        if option.component:
            known.get(option.kind, option.component)
    guidance_rule(config.rule)


def check_scorers(config: RunConfig, problems: Iterable[Problem]) -> None:
    """See that each of `problems` has a scorer that can judge by its tests.

    Raises:
        UsageError: one has none with the options that `config` has for it (see `component_options`
            and `egcfg.plugins.registry.create`), or its tests do not fit its scorer.
    """
    problems = list(problems)
    names = sorted({problem.scorer for problem in problems})
    scorers: dict[str, Scorer] = {n: open_component(config, Kind.SCORER, n) for n in names}
    for problem in problems:
        scorers[problem.scorer].check(problem)


def open_component(config: RunConfig, kind: Kind, name: str) -> Any:
    """Make an instance of one component with the options that `config` has for it.

    Raises:
        UsageError: see `component_options` and `egcfg.plugins.registry.create`.
    """
    if kind is Kind.PROMPT and (data := lacks_mbpp_examples(config, name)) is not None:
        logger.info("%s lacks tasks 2, 3 and 4 of MBPP; %s shows its own examples", data, name)
    return create(kind, name, component_options(config, kind, name))


def open_problems(config: RunConfig) -> list[Problem]:
    """Read and select the problems of a run.

    Raises:
        DataError: the data cannot be read.
        UsageError: no such data set, scorer or task.
    """
    options = {o.name: o.value for o in config.options_for(Kind.DATASET, config.dataset).values()}
    dataset = open_dataset(config.dataset, config.data, options)
    problems = select(dataset.problems(), config.task, config.limit, config.start, config.end)
    if config.scorer is not None:
        problems = [evolve(problem, scorer=config.scorer) for problem in problems]
    return problems


def model_label(config: RunConfig) -> str | None:
    """Return the model's name in results without opening it; None where only the backend knows.

    A local file or folder is named as it is called, wherever it lies.

    Raises:
        UsageError: the backend's options are wrong, or its default model is not installed.
    """
    options = config.options_for(Kind.BACKEND, config.backend)
    model = options["model"].value if "model" in options else config.model
    if model is None:
        offline = offline_model(config)
        return None if offline is None else offline.model_name
    path = Path(str(model)).expanduser()
    if path.is_dir():
        return path.resolve().name
    return path.stem if path.is_file() else str(model)


def offline_model(config: RunConfig) -> OfflineModel | None:
    """Return what is known of the model without opening it; None: the backend has no such thing.

    Raises:
        UsageError: see `component_options` and `egcfg.plugins.registry.offline_class`.
    """
    cls = offline_class(config.backend)
    if cls is None:
        return None
    values = component_options(config, Kind.BACKEND, config.backend)
    options = make_options(
        options_class(Kind.BACKEND, config.backend), values, f"{Kind.BACKEND}.{config.backend}"
    )
    return cls(options)


def open_engine(config: RunConfig, prompt: str | None = None) -> Engine:
    """Open everything that solving needs. The caller closes the engine.

    Args:
        config: what to open.
        prompt: name of the prompt builder; by default the first that `config` lists.

    Raises:
        UsageError: something is named or set wrong; found before the model is loaded.
        SandboxError: a known program is misjudged, or strict isolation lacks a layer.
        BackendError: the model cannot be opened.
    """
    check_names(config)
    with ExitStack() as opened:
        tracer = open_component(config, Kind.TRACER, config.tracer)
        builder = open_component(config, Kind.PROMPT, prompt or signal_configs(config)[0].prompt)
        sandbox = opened.enter_context(open_sandbox(config))
        # A sandbox that lacks a layer (where all are asked for) or misjudges: told at once, too.
        sandbox.canary()
        engine = Engine(
            backend=open_component(config, Kind.BACKEND, config.backend),
            tracer=tracer,
            prompt=builder,
            sandbox=sandbox,
            scorer_options=lambda name: component_options(config, Kind.SCORER, name),
        )
        opened.pop_all()
    return engine


@define
class Engines:
    """The engines of one configuration, one per prompt builder, around one model and one sandbox.

    Called with a prompt builder's name; opens the model when first called. A context manager that
    closes what was opened.
    """

    config: RunConfig
    _by_prompt: dict[str, Engine] = field(factory=dict, init=False)

    def __call__(self, prompt: str) -> Engine:
        """Return the engine of a prompt builder.

        Raises:
            EgcfgError: as `open_engine`.
        """
        if prompt not in self._by_prompt:
            shared = next(iter(self._by_prompt.values()), None)
            self._by_prompt[prompt] = (
                open_engine(self.config, prompt)
                if shared is None
                else evolve(shared, prompt=open_component(self.config, Kind.PROMPT, prompt))
            )
        return self._by_prompt[prompt]

    def metered(self, meter: Meter) -> Callable[[str], Engine]:
        """Return what gives the same engines with a backend that `meter` counts and stops."""

        def engine(prompt: str) -> Engine:
            opened = self(prompt)
            return evolve(opened, backend=MeteredBackend(opened.backend, meter))

        return engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for engine in self._by_prompt.values():
            engine.close()
            return  # the others share what it holds


def open_sandbox(config: RunConfig) -> Sandbox:
    """Return the sandbox in the mode that `config` asks for; it starts when first used."""
    return Sandbox(strict=config.sandbox is SandboxMode.STRICT)
