"""From a configuration to the components that it names: their options, and opened instances.

The order matters to the user: a misspelt name, a missing file or a wrong option is told in
milliseconds, not after a model was loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from attrs import fields

from egcfg.config.schema import BACKEND_SETTINGS, RunConfig, SandboxMode
from egcfg.config.secrets import refuse_secret
from egcfg.errors import ConfigError, did_you_mean
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.scorer import Scorer
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.options import make_options
from egcfg.plugins.registry import component_class, create, options_class, registry, title_of
from egcfg.prompts.worked_examples import holds_mbpp_examples
from egcfg.runs.config_string import signal_configs
from egcfg.sandbox import Sandbox
from egcfg.sandbox.packages import find_packages, package_names

__all__ = [
    "check_names",
    "check_scorers",
    "component_in_use",
    "component_options",
    "configured_sandbox",
    "importable_packages",
    "make_component_options",
    "model_label",
    "open_component",
]

logger = logging.getLogger(__name__)

EXAMPLE_OPTIONS = frozenset({"examples_path", "examples_from_hub"})
"""With these a prompt builder says that it can show the examples of MBPP."""


def check_names(config: RunConfig, given: Collection[Kind] = ()) -> None:
    """See that every component that `config` names is installed; imports none of them.

    Args:
        config: what to look at.
        given: kinds whose component is there already.

    Raises:
        UnknownNameError: one is not.
        PluginError: the plugin that would bring it is broken.
    """
    known = registry()
    named = [
        (Kind.BACKEND, config.backend),
        (Kind.TRACER, config.tracer),
        (Kind.GUIDANCE, config.guidance),
        (Kind.METHOD, config.method),
    ]
    named += [(Kind.PROMPT, signal.prompt) for signal in signal_configs(config)]
    if config.scorer is not None:
        named.append((Kind.SCORER, config.scorer))
    for kind, name in named:
        if kind not in given:
            known.get(kind, name)
    for option in config.options:
        if option.component:
            known.get(option.kind, option.component)


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


def component_in_use(config: RunConfig, kind: Kind, name: str) -> OpenComponent:
    """Make an instance of one component, whose methods are called with their errors named.

    Raises:
        UsageError: as `open_component`.
    """
    instance = open_component(config, kind, name)
    return OpenComponent(kind, instance, title_of(kind, instance))


def configured_sandbox(config: RunConfig) -> Sandbox:
    """Return the sandbox in the mode that `config` asks for; it starts when first used.

    Raises:
        UsageError: a package that programs are to import is not installed.
    """
    return Sandbox(strict=config.sandbox is SandboxMode.STRICT, packages=_package_names(config))


def importable_packages(config: RunConfig) -> list[str]:
    """Return the names of the packages that programs may import, of those that are installed.

    Raises:
        UsageError: as `configured_sandbox`.
    """
    return sorted(package.name for package in find_packages(_package_names(config)))


def _package_names(config: RunConfig) -> tuple[str, ...] | None:
    names = config.sandbox_packages
    return None if names is None else package_names(names)


def model_label(config: RunConfig) -> str | None:
    """Return the model's name in results without opening it; None where only the backend knows.

    Raises:
        UsageError: the backend's options are wrong, or its default model is not installed.
    """
    options = make_component_options(config, Kind.BACKEND, config.backend)
    found = getattr(options, "model_name", None) or getattr(options, "model", None)
    if found is None:  # of a backend that is one model, its class may say which
        found = getattr(component_class(Kind.BACKEND, config.backend), "model_name", None)
        return found if isinstance(found, str) else None
    return str(found)


def make_component_options(config: RunConfig, kind: Kind, name: str) -> Any:
    """Return the options object of one component, without making an instance of the component.

    Raises:
        UsageError: see `component_options` and `egcfg.plugins.options.make_options`.
    """
    values = component_options(config, kind, name)
    return make_options(options_class(kind, name), values, f"{kind}.{name}")


def component_options(config: RunConfig, kind: Kind, name: str) -> dict[str, Any]:
    """Return the option values of one component, with the settings that are options of it.

    `egcfg.config.schema.BACKEND_SETTINGS`, such as ``--model``, are options of the backend. On MBPP
    a prompt that shows worked examples takes MBPP's own, as the paper does.

    Raises:
        UsageError: its options cannot be imported (see `egcfg.plugins.registry.options_class`).
        ConfigError: it has no such option; the message names the source.
        DataError: the data set's file, which may hold the examples, cannot be read.
    """
    known = _option_names(kind, name)
    values: dict[str, Any] = {}
    if kind is Kind.PROMPT:
        values |= _mbpp_examples(config, name)
    if kind is Kind.BACKEND:
        for setting in BACKEND_SETTINGS:
            value = getattr(config, setting)
            if value is None:
                continue
            if setting not in known:
                flag = "--" + setting.replace("_", "-")
                raise ConfigError(f"the backend {name!r} takes no {flag}; leave it out")
            values[setting] = value
    for option in config.options_for(kind, name).values():
        if option.name not in known:
            refuse_secret(option.name, option.origin, name if kind is Kind.BACKEND else "")
            raise ConfigError(
                f"{option.origin}: the {kind} {name!r} has no option "
                f"{option.name!r}{did_you_mean(option.name, known)}"
            )
        values[option.name] = option.value
    return values


def lacks_mbpp_examples(config: RunConfig, prompt: str) -> Path | None:
    """Return the file of a run on MBPP that lacks the examples which its prompt would show.

    Raises:
        DataError: it cannot be read.
    """
    if not _takes_mbpp_examples(config, prompt):
        return None
    path = _data_file(config)
    return path if path is not None and not holds_mbpp_examples(path) else None


def _mbpp_examples(config: RunConfig, prompt: str) -> dict[str, Any]:
    if not _takes_mbpp_examples(config, prompt):
        return {}
    path = _data_file(config)
    if path is None:
        return {"examples_from_hub": True}
    return {"examples_path": path} if holds_mbpp_examples(path) else {}


def _takes_mbpp_examples(config: RunConfig, prompt: str) -> bool:
    return (
        config.dataset == "mbpp"
        and not EXAMPLE_OPTIONS & config.options_for(Kind.PROMPT, prompt).keys()
        and _option_names(Kind.PROMPT, prompt) >= EXAMPLE_OPTIONS
    )


def _data_file(config: RunConfig) -> Path | None:
    """Return the file that the data set is read from; None: it comes from the hub."""
    options = config.options_for(Kind.DATASET, config.dataset)
    if config.data is not None or "path" not in options:
        return config.data
    return Path(str(options["path"].value)).expanduser()


def _option_names(kind: Kind, name: str) -> set[str]:
    return {option.name for option in fields(options_class(kind, name)) if option.init}
