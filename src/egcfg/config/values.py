"""Turns what a file, a variable or a flag holds into the declared type of a setting.

Text is accepted for every type, since flags and variables hold nothing else. A refusal says what
was expected in words, without naming the source: the caller knows it.
"""

from __future__ import annotations

import enum
import math
import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import cattrs

from egcfg.config.schema import Horizon, SandboxMode, Setting
from egcfg.errors import UsageError, did_you_mean
from egcfg.runs.config_string import SignalConfig
from egcfg.settings import DecodingSettings, GuidanceUnit

__all__ = ["convert", "split_list", "to_bool"]

_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_AT_LEAST = {"start": 0, "end": 0, "limit": 1}


def convert(setting: Setting, value: object) -> Any:
    """Return `value` as the type of `setting`; one value will do where several may stand.

    Raises:
        ValueError: it does not fit; the message says what would.
    """
    if setting.repeatable:
        items = list(value) if isinstance(value, list | tuple) else [value]
        item_type = setting.type.__args__[0]
        typed = tuple(_structure(item, item_type) for item in items)
        if not typed and setting.default:
            raise ValueError("needs at least one value")
        for item in typed:
            _check_range(setting.name, item)
        # A grid with a value twice would decode the same thing twice.
        return tuple(dict.fromkeys(typed))
    typed_value = _structure(value, setting.type)
    _check_range(setting.name, typed_value)
    return typed_value


def split_list(text: str) -> list[str]:
    """Split the text of a variable that holds several values, at its commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def to_bool(value: object) -> bool:
    """Return a truth value from a boolean or a word for one."""
    if isinstance(value, bool):
        return value
    try:
        return _WORDS[str(value).strip().lower()]
    except KeyError:
        raise ValueError(f"{value!r} is neither true nor false") from None


def _structure(value: object, wanted: Any) -> Any:
    return _converter().structure(value, wanted)


def _check_range(name: str, value: Any) -> None:
    if name in _AT_LEAST and value is not None and value < _AT_LEAST[name]:
        raise ValueError(f"must be at least {_AT_LEAST[name]}, not {value}")
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
    # Without detailed validation a refusal is the plain error below, not a group of them.
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook(str, lambda value, _: _to_str(value))
    converter.register_structure_hook(int, lambda value, _: _to_int(value))
    converter.register_structure_hook(float, lambda value, _: _to_float(value))
    converter.register_structure_hook(bool, lambda value, _: to_bool(value))
    converter.register_structure_hook(Path, lambda value, _: Path(_to_str(value)).expanduser())
    # Each by name: both are strings as well, and the hook of the nearest class wins.
    converter.register_structure_hook(GuidanceUnit, _to_member)
    converter.register_structure_hook(SandboxMode, _to_member)
    converter.register_structure_hook_func(
        lambda wanted: wanted == Horizon, lambda value, _: _to_horizon(value)
    )
    return converter


def _to_str(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | Path):
        raise ValueError(f"{value!r} is not text")
    text = str(value)
    if not text:
        raise ValueError("is empty")
    return text


def _to_int(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]+\s*", value):
        return int(value)
    raise ValueError(f"{value!r} is not a whole number")


def _to_float(value: object) -> float:
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with suppress(ValueError):
            number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a number")
    return number


def _to_member(value: object, wanted: type[enum.Enum]) -> enum.Enum:
    try:
        return wanted(value)
    except ValueError:
        names = [str(member.value) for member in wanted]
        raise ValueError(f"{value!r} is not possible{did_you_mean(str(value), names)}") from None


def _to_horizon(value: object) -> int | None:
    if value is None or value == "inf" or value == math.inf:
        return None
    try:
        return _to_int(value)
    except ValueError:
        raise ValueError(f"{value!r} is neither a whole number nor inf") from None
