"""Config strings: the compact names of configurations, such as ``ns2t0.75d2_ln``.

    [p] ns<candidates> t<temperature> d<horizon | inf> [k<signal interval>] [_<prompt>] _<unit>

written without blanks. The unit is the last part and is always there, so a prompt's name may hold
underscores: ``ns2t0.75d2_my_prompt_ln`` is the prompt ``my_prompt``. ``deepseek_instruct`` is left
out and ``long_code`` is written ``lci``, as published result folders have it. A folder of results
whose method has options that are not at their defaults adds them: ``ns2t0.75d2_ln,accept=true``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Self

import attrs
from attrs import field, frozen

from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.errors import ConfigError

if TYPE_CHECKING:
    from egcfg.config import RunConfig

__all__ = [
    "METHOD_MARK",
    "SETTINGS_IN_STRING",
    "SignalConfig",
    "decimal_text",
    "method_of",
    "options_text",
    "signal_configs",
]

METHOD_MARK = "method="
"""Begins the name of a folder where a whole method is the unit, instead of a config string."""

DEFAULTS = DecodingSettings()
EXAMPLE = "'ns2t0.75d2_ln'"
UNMARKED_PROMPT = "deepseek_instruct"
PROMPT_MARKS = {"lci": "long_code"}
MARK_OF_PROMPT = {prompt: mark for mark, prompt in PROMPT_MARKS.items()}
UNIT_MARKS = {"ln": GuidanceUnit.LINE, "tok": GuidanceUnit.TOKEN, "prf": GuidanceUnit.PREFIX}
MARK_OF_UNIT = {unit: mark for mark, unit in UNIT_MARKS.items()}

SETTINGS_IN_STRING = (
    "temperature",
    "candidates",
    "horizon",
    "signal_interval",
    "unit",
    "partial",
)
"""The fields of `DecodingSettings` that a config string says."""

# In order: what a part is called in messages, its pattern, whether it must be there.
PARTS = (
    ("'p' or 'ns'", re.compile(r"(?P<partial>p)"), False),
    ("'ns' and a number of candidates", re.compile(r"ns(?P<candidates>[0-9]+)"), True),
    ("'t' and a temperature", re.compile(r"t(?P<temperature>[0-9]+(?:\.[0-9]+)?)"), True),
    ("'d' and a number of lines or 'inf'", re.compile(r"d(?P<horizon>[0-9]+|inf)"), True),
    ("'k' and a number of lines", re.compile(r"k(?P<signal_interval>[0-9]+)"), False),
    ("'_' and a prompt's name", re.compile(r"_(?P<prompt>[a-z0-9_]+)(?=_[a-z0-9]+\Z)"), False),
    ("'_ln', '_tok' or '_prf' at the end", re.compile(r"_(?P<unit>ln|tok|prf)\Z"), True),
)


@frozen(kw_only=True)
class SignalConfig:
    """One configuration of the signal: everything that a config string says.

    Attributes:
        temperature: of the sampled candidates (t).
        candidates: sampled per signal (s).
        horizon: further lines per candidate (d); None: no limit.
        signal_interval: lines between two signals (k).
        prompt: name of the prompt builder: lower-case letters, digits and underscores.
        unit: for how long one signal guides.
        partial: whether the solution so far is shown as well.
        interval_shown: whether ``k1`` is printed although 1 is the default. It only says which of
            two spellings names the folder, so configurations are equal without it.
        options: those of the method that are not at their defaults, as they are written; part of
            the folder's name and of no config string that is read.
    """

    temperature: float = DEFAULTS.temperature
    candidates: int = DEFAULTS.candidates
    horizon: int | None = DEFAULTS.horizon
    signal_interval: int = DEFAULTS.signal_interval
    prompt: str = UNMARKED_PROMPT
    unit: GuidanceUnit = field(default=DEFAULTS.unit, converter=GuidanceUnit)
    partial: bool = DEFAULTS.partial
    interval_shown: bool = field(default=False, eq=False, repr=False)
    options: Mapping[str, str] = field(factory=dict, hash=False)

    def __attrs_post_init__(self) -> None:
        if not re.fullmatch("[a-z0-9_]+", self.prompt) or self.prompt in PROMPT_MARKS:
            raise ConfigError(
                f"the prompt {self.prompt!r} cannot stand in a config string: register it under a "
                "name of lower-case letters, digits and underscores other than "
                f"{', '.join(map(repr, PROMPT_MARKS))}"
            )
        self.settings()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a config string.

        Raises:
            ConfigError: it is none; the message gives the position, from 1.
        """
        found: dict[str, str] = {}
        position = 0
        for expected, pattern, needed in PARTS:
            match = pattern.match(text, position)
            if match is not None:
                found.update(match.groupdict())
                position = match.end()
            elif needed:
                raise ConfigError(
                    f"config string {text!r}, position {position + 1}: expected {expected}; "
                    f"write it like {EXAMPLE}"
                )
        try:
            return cls(
                temperature=float(found["temperature"]),
                candidates=int(found["candidates"]),
                horizon=None if found["horizon"] == "inf" else int(found["horizon"]),
                signal_interval=int(found.get("signal_interval", "1")),
                prompt=_prompt_of_mark(found.get("prompt")),
                unit=UNIT_MARKS[found["unit"]],
                partial="partial" in found,
                interval_shown="signal_interval" in found,
            )
        except (ConfigError, ValueError) as error:
            raise ConfigError(f"config string {text!r}: {error}") from error

    def settings(
        self, base: DecodingSettings | None = None, *, gamma: float | None = None
    ) -> DecodingSettings:
        """Return `base` (default: the default settings) with this configuration put in.

        Raises:
            ConfigError: a value is out of its range.
        """
        base = base or DEFAULTS
        own = {name: getattr(self, name) for name in SETTINGS_IN_STRING}
        try:
            return attrs.evolve(base, gamma=base.gamma if gamma is None else gamma, **own)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def __str__(self) -> str:
        horizon = "inf" if self.horizon is None else str(self.horizon)
        interval = ""
        if self.signal_interval != 1 or self.interval_shown:
            interval = f"k{self.signal_interval}"
        prompt = (
            ""
            if self.prompt == UNMARKED_PROMPT
            else f"_{MARK_OF_PROMPT.get(self.prompt, self.prompt)}"
        )
        return (
            f"{'p' if self.partial else ''}ns{self.candidates}"
            f"t{decimal_text(self.temperature)}d{horizon}{interval}{prompt}"
            f"_{MARK_OF_UNIT[self.unit]}{options_text(self.options)}"
        )


def options_text(options: Mapping[str, str]) -> str:
    """Return what a folder's name says of a method's options."""
    text = "".join(f",{name}={value}" for name, value in sorted(options.items()))
    return text.replace("/", "_")


def method_of(folder: str) -> str | None:
    """Return the method that a configuration's folder is named after; None: a config string."""
    name = folder.partition(",")[0]
    return name.removeprefix(METHOD_MARK) if name.startswith(METHOD_MARK) else None


def decimal_text(value: float) -> str:
    """Return the shortest decimal text that reads back as `value`, never with an exponent."""
    text = format(Decimal(repr(float(value))), "f")
    return text if "." in text else f"{text}.0"


def _prompt_of_mark(mark: str | None) -> str:
    return UNMARKED_PROMPT if mark is None else PROMPT_MARKS.get(mark, mark)


def signal_configs(config: RunConfig) -> tuple[SignalConfig, ...]:
    """Return the configurations of the grid, in the order in which they were given.

    Raises:
        ConfigError: a prompt's name cannot be part of a config string.
    """
    if config.signal:
        return tuple(SignalConfig.parse(text) for text in config.signal)
    axes = ("prompt", "unit", "temperature", "candidates", "horizon", "signal_interval")
    return tuple(
        SignalConfig(**dict(zip(axes, chosen, strict=True)), partial=config.partial)
        for chosen in itertools.product(*(getattr(config, axis) for axis in axes))
    )
