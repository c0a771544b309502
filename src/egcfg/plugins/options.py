"""Options of components, made of plain values from files, variables and flags without guessing.

Text is taken for every type, since flags hold nothing else; beyond that nothing is coerced: 3.7 is
no whole number, a list is no text. A refusal says what was expected, in words.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_origin

import attrs
import cattrs

from egcfg.errors import ConfigError, did_you_mean

__all__ = [
    "make_options",
    "options_changed",
    "split_list",
    "strict_converter",
    "to_bool",
    "to_float",
    "to_int",
    "to_text",
]

T = TypeVar("T")
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


def make_options(options_class: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build an options object; text values (from flags) are converted to the declared types.

    Args:
        options_class: an attrs class.
        values: option names and values, either typed or as text.
        where: what the options belong to, for error messages.

    Raises:
        ConfigError: an unknown option, or a value that does not fit.
    """
    attrs.resolve_types(options_class)  # type: ignore[type-var]
    fields = {f.name: f for f in attrs.fields(options_class) if f.init}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            raise ConfigError(f"{where} has no option {name!r}{did_you_mean(name, fields)}")
    try:
        return _options_converter().structure(
            {name: _listed(value, fields[name]) for name, value in values.items()}, options_class
        )
    except cattrs.ClassValidationError as group:
        problems = cattrs.transform_error(group, path=where, format_exception=_expected)
        # cattrs writes "what is wrong @ where".
        told = (" ".join(text.rpartition(" @ ")[::2][::-1]) for text in problems)
        raise ConfigError(f"wrong option: {'; '.join(told)}") from group


def options_changed(options: Any) -> dict[str, str]:
    """Return the options that are not at their defaults, each as one writes it on a command line.

    Args:
        options: an instance of an attrs class.
    """
    changed = {}
    for option in attrs.fields(type(options)):
        default = option.default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a class
            default = default.factory(options) if default.takes_self else default.factory()
        value = getattr(options, option.name)
        if option.init and value != default:
            changed[option.name] = _text(value)
    return changed


def _text(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case list() | tuple() | set() | frozenset():
            return ",".join(map(_text, value))
        case enum.Enum():
            return str(value.value)
    return str(value)


def strict_converter(**options: Any) -> cattrs.Converter:
    """Return a converter with the conversions of this module; `options` are those of cattrs."""
    converter = cattrs.Converter(**options)
    # The hook of a base class serves its enums, too, where nothing nearer is registered.
    for base, parse in ((str, to_text), (int, to_int), (float, to_float)):
        converter.register_structure_hook(
            base,
            lambda value, wanted, parse=parse: (
                _to_member(value, wanted) if issubclass(wanted, enum.Enum) else parse(value)
            ),
        )
    converter.register_structure_hook(bool, lambda value, _: to_bool(value))
    converter.register_structure_hook(Path, lambda value, _: Path(to_text(value)).expanduser())
    return converter


def split_list(text: str) -> list[str]:
    """Split a text that holds several values at its commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def to_bool(value: object) -> bool:
    """Return a truth value, from a boolean or a word for one.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, bool):
        return value
    try:
        return _WORDS[str(value).strip().lower()]
    except KeyError:
        raise ValueError(f"{value!r} is neither true nor false") from None


def to_text(value: object) -> str:
    """Return a text that is not empty; a number or a path is taken as it is written.

    Raises:
        ValueError: it is no text.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | Path):
        raise ValueError(f"{value!r} is not text")
    text = str(value)
    if not text:
        raise ValueError("the text is empty")
    return text


def to_int(value: object) -> int:
    """Return a whole number.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]+\s*", value):
        return int(value)
    raise ValueError(f"{value!r} is not a whole number")


def to_float(value: object) -> float:
    """Return a finite number.

    Raises:
        ValueError: it is none.
    """
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with suppress(ValueError):
            number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a number")
    return number


@cache
def _options_converter() -> cattrs.Converter:
    return strict_converter(forbid_extra_keys=True)


def _listed(value: object, option: attrs.Attribute[Any]) -> object:
    """Split the text of an option that holds several values; a string is no list of letters."""
    several = get_origin(option.type) in (tuple, list, set, frozenset)
    return split_list(value) if several and isinstance(value, str) else value


def _expected(error: BaseException, wanted: type | None) -> str:
    return str(error) or f"expected {wanted}"


def _to_member(value: object, wanted: type[enum.Enum]) -> enum.Enum:
    try:
        return wanted(value)
    except ValueError:
        names = [str(member.value) for member in wanted]
        raise ValueError(f"{value!r} is not possible{did_you_mean(str(value), names)}") from None
