"""Reads settings from where users put them; each source gives a `Layer` of raw values.

No values are converted here, and none are merged: see `egcfg.config.load`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from egcfg.config.schema import ENVIRONMENT_PREFIX, OptionValue, settings
from egcfg.config.secrets import refuse_secret
from egcfg.errors import ConfigError, did_you_mean
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.options import split_list

__all__ = [
    "CONFIG_FILE",
    "Layer",
    "from_environment",
    "from_file",
    "from_flags",
]

CONFIG_FILE = "egcfg.toml"

# Switches of the program itself rather than settings of a run.
_NOT_SETTINGS = frozenset(
    {"EGCFG_CACHE_DIR", "EGCFG_CONFIG", "EGCFG_DEBUG", "EGCFG_STRICT_PLUGINS"}
)


@frozen(kw_only=True)
class Layer:
    """What one source says.

    Attributes:
        values: raw values by setting.
        origins: where each of them stands, for messages and ``egcfg config``.
        options: options of components.
    """

    values: Mapping[str, Any] = field(factory=dict)
    origins: Mapping[str, str] = field(factory=dict)
    options: tuple[OptionValue, ...] = ()


def from_file(path: Path) -> Layer:
    """Read a configuration file.

    Top-level keys are settings. A component's options stand in a table named after its kind:
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
    return Layer(values=values, origins=origins, options=tuple(options))


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


def from_environment(environment: Mapping[str, str]) -> Layer:
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
    return Layer(values=values, origins=origins)


def from_flags(values: Mapping[str, Any], options: Iterable[str] = ()) -> Layer:
    """Read flags: raw values by setting, and the texts of ``-o``.

    Raises:
        ConfigError: an option is not of the form ``KIND.NAME=VALUE``, or its kind is not known.
    """
    origins = {name: settings()[name].flag for name in values}
    return Layer(
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
