"""Shows an effective configuration: as text with the sources, as JSON, or as TOML to start from."""

from __future__ import annotations

import json
import math
from typing import Any

from egcfg.config.load import EffectiveConfig
from egcfg.config.schema import SIGNAL_AXES, OptionValue, settings
from egcfg.usage.prices import PriceTable

__all__ = ["to_json", "to_text", "to_toml"]


def to_text(effective: EffectiveConfig) -> str:
    """Return one aligned line per setting: name, value, source."""
    rows = [
        (name, _toml(value), _source(effective, name)) for name, value in _values(effective).items()
    ]
    rows += [(_path(o), _toml(_plain(o.value)), o.origin) for o in effective.config.options]
    name_width = max(len(name) for name, _, _ in rows)
    value_width = min(40, max(len(value) for _, value, _ in rows))
    return "".join(
        f"{name:<{name_width}} = {value:<{value_width}}  # {origin}\n"
        for name, value, origin in rows
    )


def to_json(effective: EffectiveConfig) -> str:
    """Return ``{"settings": {name: {"value", "source"}}, "options": [...]}``."""
    document = {
        "settings": {
            name: {"value": value, "source": _source(effective, name)}
            for name, value in _values(effective).items()
        },
        "options": [
            {
                "kind": o.kind.value,
                "component": o.component or None,
                "name": o.name,
                "value": _plain(o.value),
                "source": o.origin,
            }
            for o in effective.config.options
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def to_toml(effective: EffectiveConfig) -> str:
    """Return a configuration file that gives the same configuration."""
    tables: dict[str, dict[str, Any]] = {}
    for option in effective.config.options:
        table = ".".join(map(_key, filter(None, (option.kind.value, option.component))))
        # A table named like a setting takes that setting in as its `name`.
        tables.setdefault(option.kind.value, {})
        tables.setdefault(table, {})[option.name] = _plain(option.value)
    lines = []
    for name, value in _values(effective).items():
        if _is_part_of_signal(effective, name):
            lines.append(f"# {name} is part of signal")
        elif value is None:
            lines.append(f"# {name} is not set")
        elif name in tables:
            tables[name] = {"name": value, **tables[name]}
        else:
            lines.append(f"{name} = {_toml(value)}")
    for table, entries in tables.items():
        if entries:
            lines += ["", f"[{table}]", *(f"{_key(k)} = {_toml(v)}" for k, v in entries.items())]
    return "\n".join(lines) + "\n"


def _values(effective: EffectiveConfig) -> dict[str, Any]:
    values = {name: _plain(getattr(effective.config, name)) for name in settings()}
    values["horizon"] = ["inf" if lines is None else lines for lines in values["horizon"]]
    return values


def _source(effective: EffectiveConfig, name: str) -> str:
    unused = _is_part_of_signal(effective, name)
    return "not used: part of signal" if unused else effective.origins[name]


def _is_part_of_signal(effective: EffectiveConfig, name: str) -> bool:
    return bool(effective.config.signal) and name in SIGNAL_AXES


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, PriceTable):
        return value.as_table()
    if value is None or type(value) in (bool, int, float, str):
        return value
    return str(value)


def _path(option: OptionValue) -> str:
    return ".".join(filter(None, (option.kind.value, option.component, option.name)))


def _toml(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items())
        return "{" + inner + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    # JSON's strings and numbers are TOML's. TOML has no surrogates, neither alone nor in pairs.
    return "".join(
        char if char.isprintable() else _escape(char)
        for char in json.dumps(value, ensure_ascii=False)
    )


def _escape(char: str) -> str:
    code = ord(char)
    if 0xD800 <= code <= 0xDFFF:
        # A byte of the command line that is no UTF-8: no TOML text can hold it, so it is spelt out.
        return f"\\\\u{code:04x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() and name.isascii() else _toml(name)
