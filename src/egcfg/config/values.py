"""Turns what a file, a variable or a flag holds into the declared type of a setting.

A refusal says what was expected without naming the source: the caller knows it.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import cattrs

from egcfg.config.schema import Horizon, Setting
from egcfg.decoding.settings import DecodingSettings
from egcfg.errors import UsageError
from egcfg.plugins.options import strict_converter, to_int
from egcfg.runs.config_string import SignalConfig
from egcfg.usage.price_table import PriceTable

__all__ = ["convert"]

_AT_LEAST = {"start": 0, "end": 0, "limit": 1, "max_requests": 1, "max_tokens_total": 1}
_ABOVE = {"max_cost": 0}


def convert(setting: Setting, value: object) -> Any:
    """Return `value` as the type of `setting`; one value will do where several may stand.

    Raises:
        ValueError: it does not fit; the message says what would.
    """
    if setting.repeatable:
        items = list(value) if isinstance(value, list | tuple) else [value]
        item_type = setting.type.__args__[0]
        typed = tuple(_converter().structure(item, item_type) for item in items)
        if not typed and setting.default:
            raise ValueError("needs at least one value")
        for item in typed:
            _check_range(setting.name, item)
        # A grid with a value twice would decode the same thing twice.
        return tuple(dict.fromkeys(typed))
    typed_value = _converter().structure(value, setting.type)
    _check_range(setting.name, typed_value)
    return typed_value


def _check_range(name: str, value: Any) -> None:
    if name in _AT_LEAST and value is not None and value < _AT_LEAST[name]:
        raise ValueError(f"must be at least {_AT_LEAST[name]}, not {value}")
    if name in _ABOVE and value is not None and value <= _ABOVE[name]:
        raise ValueError(f"must be above {_ABOVE[name]}, not {value:g}")
    if name == "signal":
        try:
            SignalConfig.parse(value)
        except UsageError as error:
            raise ValueError(str(error)) from error
    if name in DecodingSettings.__slots__:  # type: ignore[attr-defined]  # attrs makes them
        try:
            DecodingSettings(**{name: value})
        except ValueError as error:
            raise ValueError(str(error).removeprefix(f"{name!r} ")) from error


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
