"""The options of the components that a configuration names, with the settings that are options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import fields

from egcfg.config import RunConfig
from egcfg.config.schema import BACKEND_SETTINGS
from egcfg.config.secrets import refuse_secret
from egcfg.errors import ConfigError, did_you_mean
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import options_class
from egcfg.prompts.worked_examples import holds_mbpp_examples

__all__ = ["component_options", "lacks_mbpp_examples"]

EXAMPLE_OPTIONS = frozenset({"examples_path", "examples_from_hub"})
"""With these a prompt builder says that it can show the examples of MBPP."""


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
