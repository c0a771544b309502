"""Reads every source of settings and merges them: defaults < file < session < environment < flags.

Each source gives a `ConfigSource` of raw values; merging converts them to their declared types.

Config strings (``signal``) and the settings that they contain, too, follow the same precedence: a
stronger source's config strings replace those settings, and a stronger source's settings replace
their part of each config string. Only within one source the two stand against each other.
"""

from __future__ import annotations

import itertools
import math
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cattrs
from attrs import evolve, field, frozen

from egcfg.config.protocols import with_protocol
from egcfg.config.schema import (
    BACKEND_SETTINGS,
    ENVIRONMENT_PREFIX,
    SIGNAL_AXES,
    Horizon,
    OptionValue,
    RunConfig,
    Setting,
    settings,
)
from egcfg.config.secrets import refuse_credentials, refuse_secret
from egcfg.datasets.decoder_tests import DecoderTests
from egcfg.errors import ConfigError, did_you_mean
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.options import split_list, strict_converter, to_int
from egcfg.runs.config_string import SignalConfig
from egcfg.usage.prices import PriceTable

__all__ = [
    "DEFAULT_ORIGIN",
    "ConfigSource",
    "EffectiveConfig",
    "from_environment",
    "from_file",
    "from_flags",
    "load_config",
    "merge",
]

CONFIG_FILE = "egcfg.toml"
DEFAULT_ORIGIN = "default"

# Switches of the program itself rather than settings of a run.
_NOT_SETTINGS = frozenset(
    {"EGCFG_CACHE_DIR", "EGCFG_CONFIG", "EGCFG_DEBUG", "EGCFG_STRICT_PLUGINS"}
)


@frozen(kw_only=True)
class ConfigSource:
    """What one source of settings says.

    Attributes:
        values: raw values by setting.
        origins: where each of them stands, for messages and ``egcfg config``.
        options: options of components.
    """

    values: Mapping[str, Any] = field(factory=dict)
    origins: Mapping[str, str] = field(factory=dict)
    options: tuple[OptionValue, ...] = ()


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
    session: Iterable[ConfigSource] = (),
    defaults: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> EffectiveConfig:
    """Read every source and merge them.

    Args:
        flags: raw values by setting, as typed on a command line or passed from Python.
        options: texts of the form ``KIND.NAME=VALUE``.
        file: the configuration file; by default ``EGCFG_CONFIG`` names it, else it is
            ``egcfg.toml`` of the working directory, if there is one. Parent folders are not
            searched: what a run does should not depend on a file out of sight.
        session: sources from the original tool's files, between file and environment.
        defaults: values that hold in place of the settings' own defaults, as for one command.
        environment: by default that of this process.

    Raises:
        ConfigError: a source cannot be read, or a value or key in it is wrong.
    """
    environment = os.environ if environment is None else environment
    if file is None and environment.get("EGCFG_CONFIG"):
        file = Path(environment["EGCFG_CONFIG"])
    if file is None and Path(CONFIG_FILE).is_file():
        file = Path(CONFIG_FILE)
    weakest = defaults or {}
    sources = [ConfigSource(values=weakest, origins=dict.fromkeys(weakest, DEFAULT_ORIGIN))]
    sources += [from_file(file)] if file is not None else []
    sources += [*session, from_environment(environment), from_flags(flags or {}, options)]
    return merge(sources)


def merge(sources: Iterable[ConfigSource]) -> EffectiveConfig:
    """Merge sources; a later one wins over an earlier one.

    The options of the selected backend that are in `BACKEND_SETTINGS` are the settings of these
    names, whichever of the two ways they were given in.

    A protocol is the data set and the visible tests that it stands for.

    Raises:
        ConfigError: a value does not fit its setting, holds a secret, or stands against the
            protocol; the message names its source.
        UnknownNameError: there is no such protocol.
    """
    sources = list(sources)
    backend = _selected_backend(sources)
    values: dict[str, Any] = {}
    origins = dict.fromkeys(settings(), DEFAULT_ORIGIN)
    options: list[OptionValue] = []
    for source in sources:
        axes = sorted(SIGNAL_AXES & source.values.keys())
        if "signal" in source.values:
            if axes and source.values["signal"]:
                raise ConfigError(
                    f"{source.origins[axes[0]]}: stands against {source.origins['signal']}, whose "
                    f"config strings hold {axes[0]} already; give one of the two"
                )
            # A config string says all of these, so it replaces what weaker sources said.
            for axis in SIGNAL_AXES & values.keys():
                _forget(axis, values, origins)
        # A protocol says the data set: of the two, what a stronger source says holds.
        if "protocol" in source.values and "dataset" in values:
            _forget("dataset", values, origins)
        elif "dataset" in source.values and "protocol" in values:
            _forget("protocol", values, origins)
        for name, value in source.values.items():
            origins[name] = source.origins[name]
            values[name] = _checked(name, value, origins[name])
        for option in source.options:
            if _is_setting(option, backend):
                origins[option.name] = option.origin
                values[option.name] = _checked(option.name, option.value, option.origin)
            else:
                refuse_credentials(option.name, option.value, option.origin)
                options.append(option)
        if axes and values.get("signal"):
            _override_signals(axes, values, origins)
    if (named := values.get("protocol")) is not None:
        origin = origins["protocol"]
        if values.get("decoder_tests", DecoderTests.VISIBLE) is not DecoderTests.VISIBLE:
            raise ConfigError(
                f"{origins['decoder_tests']}: the protocol {named!r} says already which tests are "
                "visible; leave out one of the two"
            )
        protocol, options = with_protocol(named, origin, values.get("dataset"), options)
        values["dataset"], origins["dataset"] = protocol.dataset, f"{origin}: {named}"
    return EffectiveConfig(config=RunConfig(**values, options=tuple(options)), origins=origins)


def _selected_backend(sources: Sequence[ConfigSource]) -> str:
    named = [str(source.values["backend"]) for source in sources if "backend" in source.values]
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
        return _convert(settings()[name], value)
    except (TypeError, ValueError, ConfigError) as error:
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


# --- sources --------------------------------------------------------------------------------------


def from_file(path: Path) -> ConfigSource:
    """Read a configuration file.

    Top-level keys are settings. A component's options are in a table named after its kind:
    ``[backend]`` for the selected backend (whose name may stand there as ``name``) and
    ``[backend.hf]`` for the one of that name.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or holds a key that is not known.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    values: dict[str, Any] = {}
    options: list[OptionValue] = []
    kinds = {kind.value for kind in Kind}
    for key, value in document.items():
        if key in kinds and isinstance(value, dict):
            table = dict(value)
            if key in settings() and "name" in table:
                values[key] = table.pop("name")
            options += _table_options(Kind(key), table, path)
        elif key in settings():
            values[key] = value
        else:
            refuse_secret(key, f"{path}: {key}")
            known = did_you_mean(key, {*settings(), *kinds})
            raise ConfigError(f"{path}: no setting named {key!r}{known}")
    origins = {name: f"{path}: {name}" for name in values}
    return ConfigSource(values=values, origins=origins, options=tuple(options))


def _table_options(kind: Kind, table: Mapping[str, Any], path: Path) -> list[OptionValue]:
    found = []
    for key, value in table.items():
        # A table inside a kind's table is a component's, whatever it is called.
        component, entries = (key, value) if isinstance(value, dict) else ("", {key: value})
        where = f"{kind.value}.{component}" if component else kind.value
        for name, entry in entries.items():
            origin = f"{path}: {where}.{name}"
            refuse_secret(name, origin, component if kind is Kind.BACKEND else "")
            found.append(
                OptionValue(kind=kind, component=component, name=name, value=entry, origin=origin)
            )
    return found


def from_environment(environment: Mapping[str, str]) -> ConfigSource:
    """Read the variables that start with ``EGCFG_``; several values are separated by commas.

    Raises:
        ConfigError: such a variable names no setting.
    """
    variables = {setting.variable: setting for setting in settings().values()}
    values: dict[str, Any] = {}
    origins = {}
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _NOT_SETTINGS:
            continue
        setting = variables.get(variable)
        if setting is None:
            known = did_you_mean(variable, {*variables, *_NOT_SETTINGS})
            raise ConfigError(f"environment: no setting named {variable}{known}")
        text = environment[variable]
        values[setting.name] = split_list(text) if setting.repeatable else text
        origins[setting.name] = f"environment: {variable}"
    return ConfigSource(values=values, origins=origins)


def from_flags(values: Mapping[str, Any], options: Iterable[str] = ()) -> ConfigSource:
    """Read flags: raw values by setting, and the texts of ``-o``.

    Raises:
        ConfigError: an option is not of the form ``KIND.NAME=VALUE``, or its kind is not known.
    """
    origins = {name: settings()[name].flag for name in values}
    return ConfigSource(
        values=values, origins=origins, options=tuple(_parse_option(text) for text in options)
    )


def _parse_option(text: str) -> OptionValue:
    path, equals, value = text.partition("=")
    parts = path.strip().split(".")
    if not equals or len(parts) not in (2, 3) or not all(parts):
        raise ConfigError(
            "-o: an option has the form KIND.NAME=VALUE or KIND.COMPONENT.NAME=VALUE, "
            f"such as -o backend.dtype=bfloat16; got {path.strip()!r}"
        )
    kinds = [kind.value for kind in Kind]
    if parts[0] not in kinds:
        raise ConfigError(f"-o: no kind named {parts[0]!r}{did_you_mean(parts[0], kinds)}")
    kind, component, name = Kind(parts[0]), ".".join(parts[1:-1]), parts[-1]
    origin = f"-o {path.strip()}"
    refuse_secret(name, origin, component if kind is Kind.BACKEND else "")
    return OptionValue(kind=kind, component=component, name=name, value=value, origin=origin)


# --- values ---------------------------------------------------------------------------------------


def _convert(setting: Setting, value: object) -> Any:
    """Return `value` as the type of `setting`; one value will do where several may stand.

    Raises:
        ValueError: it does not fit; the message says what would.
    """
    if setting.repeatable:
        items = list(value) if isinstance(value, list | tuple) else [value]
        item_type = setting.type.__args__[0]
        typed: Any = tuple(_converter().structure(item, item_type) for item in items)
        if not typed and setting.default:
            raise ValueError("needs at least one value")
        # A grid with a value twice would decode the same thing twice.
        typed = tuple(dict.fromkeys(typed))
    else:
        typed = _converter().structure(value, setting.type)
    setting.validate(typed)
    return typed


@cache
def _converter() -> cattrs.Converter:
    # Without detailed validation a refusal is the plain error, not a group of them.
    converter = strict_converter(detailed_validation=False)
    converter.register_structure_hook_func(
        lambda wanted: wanted == Horizon, lambda value, _: _to_horizon(value)
    )
    converter.register_structure_hook(PriceTable, lambda value, _: PriceTable.read(value))
    return converter


def _to_horizon(value: object) -> int | None:
    if value is None or value == "inf" or value == math.inf:
        return None
    try:
        return to_int(value)
    except ValueError:
        raise ValueError(f"{value!r} is neither a whole number nor inf") from None
