"""What a configuration asks a run to do: its grid, its results folder, the folder's provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import attrs
from attrs import frozen

from egcfg.config import Order, RunConfig
from egcfg.config.components import make_component_options
from egcfg.datasets.selection import dataset_label
from egcfg.decoding.settings import DecodingSettings
from egcfg.errors import ConfigError
from egcfg.interfaces.problem import Problem
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.options import options_changed
from egcfg.plugins.registry import component_class
from egcfg.runs.config_string import SETTINGS_IN_STRING, signal_configs
from egcfg.runs.fingerprint import component_provenance
from egcfg.runs.grid import Grid
from egcfg.runs.store import ResultsFolder
from egcfg.usage.budget import Budget

__all__ = ["RunPlan", "base_settings", "model_budget", "plan_run", "planned_grid"]


@frozen(kw_only=True)
class RunPlan:
    """Everything that `egcfg.runs.runner.run` is told besides how to solve.

    Attributes:
        grid: the units.
        folder: where results are kept.
        settings: what configurations and gammas do not say.
        provenance_of: what else determines the text with a prompt builder of that name; see
            `egcfg.runs.fingerprint.component_provenance`.
        budget: what the work may cost.
    """

    grid: Grid
    folder: ResultsFolder
    settings: DecodingSettings
    provenance_of: Callable[[str], Mapping[str, Any]]
    budget: Budget


def plan_run(config: RunConfig, problems: Sequence[Problem], model: str) -> RunPlan:
    """Return the plan of a run.

    Args:
        config: what is asked.
        problems: what to solve, selected already.
        model: the model's name in results.

    Raises:
        ConfigError: the grid is empty, a prompt's name cannot be part of a config string, or there
            is a limit on the cost without prices.
    """
    return RunPlan(
        grid=planned_grid(config, problems),
        folder=ResultsFolder(config.results_dir, dataset_label(config), model),
        settings=base_settings(config),
        # Once per prompt: a fingerprint reads the model's files.
        provenance_of=cache(partial(component_provenance, config)),
        budget=model_budget(config, model),
    )


def planned_grid(config: RunConfig, problems: Sequence[Problem]) -> Grid:
    """Return the units that a configuration asks for.

    Raises:
        ConfigError: the grid is empty, or a prompt's name cannot be part of a config string.
        UsageError: the method cannot be imported, or has no such option.
    """
    options = options_changed(make_component_options(config, Kind.METHOD, config.method))
    whole = not component_class(Kind.METHOD, config.method).over_grid
    configs = signal_configs(config)
    return Grid(
        problems=problems,
        configs=configs if whole else [attrs.evolve(each, options=options) for each in configs],
        gammas=config.gamma,
        method=config.method if whole else None,
        method_options=options,
        cheap_first=config.order is Order.CHEAP_FIRST,
    )


def model_budget(config: RunConfig, model: str) -> Budget:
    """Return what the work with a model of that name may cost.

    Raises:
        ConfigError: there is a limit on the cost, and no prices for this model.
    """
    prices = None if config.prices is None else config.prices.of(model)
    if config.max_cost is not None and prices is None and config.prices is not None:
        raise ConfigError(
            f"--max-cost needs prices, and there are none for the model {model!r}; add the table "
            f'[prices."{model}"] to egcfg.toml, or give prices for all models: '
            "--prices input=0.2,output=0.6"
        )
    return Budget(
        max_requests=config.max_requests,
        max_tokens=config.max_tokens_total,
        max_cost=config.max_cost,
        prices=prices,
    )


def base_settings(config: RunConfig) -> DecodingSettings:
    """Return the settings that hold for every unit of the grid."""
    shared = attrs.fields_dict(DecodingSettings).keys() - {"gamma", *SETTINGS_IN_STRING}
    return DecodingSettings(**{name: getattr(config, name) for name in shared})
