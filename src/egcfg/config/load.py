"""Merges the sources of settings by precedence: defaults < file < session < environment < flags.

Config strings (``signal``) and the settings that they hold, too, follow the same precedence: a
stronger source's config strings replace those settings, and a stronger source's settings replace
their part of each config string. Only within one source the two stand against each other.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from egcfg.config.schema import (
    BACKEND_SETTINGS,
    SIGNAL_AXES,
    OptionValue,
    RunConfig,
    settings,
)
from egcfg.config.secrets import refuse_credentials
from egcfg.config.sources import (
    CONFIG_FILE,
    Layer,
    from_environment,
    from_file,
    from_flags,
)
from egcfg.config.values import convert
from egcfg.errors import ConfigError
from egcfg.plugins.hookspecs import Kind
from egcfg.runs.config_string import SignalConfig

__all__ = ["DEFAULT_ORIGIN", "EffectiveConfig", "load_config", "merge"]

DEFAULT_ORIGIN = "default"


@frozen(kw_only=True)
class EffectiveConfig:
    """The configuration that holds, and who said so.

    Attributes:
        config: the merged values.
        origins: the source of each setting, such as ``"environment: EGCFG_MODEL"``.
    """

    config: RunConfig
    origins: Mapping[str, str]


def load_config(
    flags: Mapping[str, Any] | None = None,
    options: Sequence[str] = (),
    *,
    file: Path | None = None,
    session: Iterable[Layer] = (),
    environment: Mapping[str, str] | None = None,
) -> EffectiveConfig:
    """Read every source and merge them.

    Args:
        flags: raw values by setting, as typed on a command line or passed from Python.
        options: texts of the form ``KIND.NAME=VALUE``.
        file: the configuration file; by default ``EGCFG_CONFIG`` names it, else it is
            ``egcfg.toml`` of the working directory, if there is one. Parent folders are not
            searched: what a run does should not depend on a file out of sight.
        session: layers of the original tool's files, between file and environment.
        environment: by default that of this process.

    Raises:
        ConfigError: a source cannot be read, or a value or key in it is wrong.
    """
    environment = os.environ if environment is None else environment
    if file is None and environment.get("EGCFG_CONFIG"):
        file = Path(environment["EGCFG_CONFIG"])
    if file is None and Path(CONFIG_FILE).is_file():
        file = Path(CONFIG_FILE)
    layers = [from_file(file)] if file is not None else []
    layers += [*session, from_environment(environment), from_flags(flags or {}, options)]
    return merge(layers)


def merge(layers: Iterable[Layer]) -> EffectiveConfig:
    """Merge layers; a later one wins over an earlier one.

    The options of the selected backend that are in `BACKEND_SETTINGS` are the settings of these
    names, whichever of the two ways they were given in.

    Raises:
        ConfigError: a value does not fit its setting, or holds a secret; the message names its
            source.
    """
    layers = list(layers)
    backend = _selected_backend(layers)
    values: dict[str, Any] = {}
    origins = dict.fromkeys(settings(), DEFAULT_ORIGIN)
    options: list[OptionValue] = []
    for layer in layers:
        axes = sorted(SIGNAL_AXES & layer.values.keys())
        if "signal" in layer.values:
            if axes and layer.values["signal"]:
                raise ConfigError(
                    f"{layer.origins[axes[0]]}: stands against {layer.origins['signal']}, whose "
                    f"config strings hold {axes[0]} already; give one of the two"
                )
            # A config string says all of these, so it replaces what weaker sources said.
            for axis in SIGNAL_AXES & values.keys():
                _forget(axis, values, origins)
        for name, value in layer.values.items():
            origins[name] = layer.origins[name]
            values[name] = _checked(name, value, origins[name])
        for option in layer.options:
            if _is_setting(option, backend):
                origins[option.name] = option.origin
                values[option.name] = _checked(option.name, option.value, option.origin)
            else:
                refuse_credentials(option.name, option.value, option.origin)
                options.append(option)
        if axes and values.get("signal"):
            _override_signals(axes, values, origins)
    return EffectiveConfig(config=RunConfig(**values, options=tuple(options)), origins=origins)


def _selected_backend(layers: Sequence[Layer]) -> str:
    named = [str(layer.values["backend"]) for layer in layers if "backend" in layer.values]
    default: str = settings()["backend"].default
    return named[-1] if named else default


def _is_setting(option: OptionValue, backend: str) -> bool:
    return (
        option.kind is Kind.BACKEND
        and option.component in ("", backend)
        and option.name in BACKEND_SETTINGS
    )


def _checked(name: str, value: Any, origin: str) -> Any:
    refuse_credentials(name, value, origin)
    try:
        return convert(settings()[name], value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{origin}: {error}") from error


def _override_signals(axes: Sequence[str], values: dict[str, Any], origins: dict[str, str]) -> None:
    """Let settings of a stronger source replace their part of each config string.

    Several values of a setting make several config strings, as they make a grid elsewhere.
    """
    choices = [
        values[axis] if isinstance(values[axis], tuple) else (values[axis],) for axis in axes
    ]
    try:
        signals = [
            str(evolve(SignalConfig.parse(text), **dict(zip(axes, chosen, strict=True))))
            for text in values["signal"]
            for chosen in itertools.product(*choices)
        ]
    except ConfigError as error:
        raise ConfigError(f"{origins[axes[0]]}: {error}") from error
    values["signal"] = tuple(dict.fromkeys(signals))
    origins["signal"] = ", ".join((origins["signal"], *(origins[axis] for axis in axes)))
    for axis in axes:
        _forget(axis, values, origins)


def _forget(axis: str, values: dict[str, Any], origins: dict[str, str]) -> None:
    del values[axis]
    origins[axis] = DEFAULT_ORIGIN
