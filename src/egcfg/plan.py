"""What a configuration asks a run to do: its grid, its results folder, and what the folder pins."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import fields, frozen

from egcfg.config import RunConfig
from egcfg.datasets.selection import dataset_label
from egcfg.hookspecs import Kind
from egcfg.plugins import component_class
from egcfg.problem import Problem
from egcfg.runs.config_string import SignalConfig
from egcfg.runs.grid import Grid
from egcfg.runs.store import ResultsFolder
from egcfg.settings import DecodingSettings

__all__ = ["RunPlan", "base_settings", "mbpp_examples_file", "plan_run", "signal_configs"]


@frozen(kw_only=True)
class RunPlan:
    """Everything that `egcfg.runs.runner.run` is told besides the engines.

    Attributes:
        grid: the units.
        folder: where results are kept.
        settings: what configurations and gammas do not say.
        pins_for: what else determines the text with a prompt builder of that name.
    """

    grid: Grid
    folder: ResultsFolder
    settings: DecodingSettings
    pins_for: Callable[[str], Mapping[str, Any]]


def plan_run(config: RunConfig, problems: Sequence[Problem], model: str) -> RunPlan:
    """Return the plan of a run.

    Args:
        config: what is asked.
        problems: what to solve, selected already.
        model: the model's name in results.

    Raises:
        ConfigError: the grid is empty, or a prompt's name cannot stand in a config string.
    """
    return RunPlan(
        grid=Grid(problems=problems, configs=signal_configs(config), gammas=config.gamma),
        folder=ResultsFolder(config.results_dir, dataset_label(config.dataset), model),
        settings=base_settings(config),
        pins_for=lambda prompt: _pins(config, prompt),
    )


def signal_configs(config: RunConfig) -> tuple[SignalConfig, ...]:
    """Return the configurations of the grid, in the order in which they were given.

    Raises:
        ConfigError: a prompt's name cannot stand in a config string.
    """
    if config.signal:
        return tuple(SignalConfig.parse(text) for text in config.signal)
    return tuple(
        SignalConfig(
            prompt=prompt,
            unit=unit,
            temperature=temperature,
            candidates=candidates,
            horizon=horizon,
            refresh=refresh,
            partial=config.partial,
        )
        for prompt, unit, temperature, candidates, horizon, refresh in itertools.product(
            config.prompt,
            config.unit,
            config.temperature,
            config.candidates,
            config.horizon,
            config.refresh,
        )
    )


def base_settings(config: RunConfig) -> DecodingSettings:
    """Return the settings that hold for every unit of the grid."""
    return DecodingSettings(
        top_p=config.top_p,
        max_tokens=config.max_tokens,
        signal_tokens=config.signal_tokens,
        seed=config.seed,
        rule=config.rule,
        drafts=config.drafts,
    )


def mbpp_examples_file(config: RunConfig, prompt: str) -> Path | None:
    """Return the MBPP file that a prompt takes its worked examples from, as the paper does.

    That is the data set's own file where the run is on MBPP and the prompt can show examples.
    """
    if config.dataset != "mbpp" or "examples_path" in config.options_for(Kind.PROMPT, prompt):
        return None
    options_class = component_class(Kind.PROMPT, prompt).Options
    shows_examples = "examples_path" in {f.name for f in fields(options_class)}
    return config.data if shows_examples else None


def _pins(config: RunConfig, prompt: str) -> dict[str, Any]:
    components = {
        Kind.BACKEND: config.backend,
        Kind.TRACER: config.tracer,
        Kind.PROMPT: prompt,
    }
    if config.scorer is not None:
        components[Kind.SCORER] = config.scorer
    pins: dict[str, Any] = {
        kind.value: {"name": name, **_pinned_options(config, kind, name)}
        for kind, name in components.items()
    }
    if mbpp_examples_file(config, prompt) is not None:
        # Not the path: the same examples may lie elsewhere tomorrow.
        pins["prompt"]["examples"] = "MBPP 2, 3, 4"
    return pins


def _pinned_options(config: RunConfig, kind: Kind, name: str) -> dict[str, Any]:
    given = config.options_for(kind, name)
    if not given:
        return {}
    options_class = component_class(kind, name).Options
    # An option can say that no text depends on it, such as a deadline or a path to the same data.
    free = {f.name for f in fields(options_class) if f.metadata.get("changes_text") is False}
    return {
        option.name: str(option.value) if isinstance(option.value, Path) else option.value
        for option in given.values()
        if option.name not in free
    }
