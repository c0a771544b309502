"""Protocols: who sees which tests of a data set, as named presets.

Published figures on one data set differ by what the decoder saw of the tests that score: a result
means something beside others of the same protocol only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from egcfg.config.schema import OptionValue
from egcfg.errors import ConfigError, UnknownNameError
from egcfg.plugins.hookspecs import Kind

__all__ = ["PROTOCOLS", "Protocol", "with_protocol"]

VISIBLE = "visible"
"""The option of data sets that a protocol fixes."""


@frozen(kw_only=True)
class Protocol:
    """Who sees which tests.

    Attributes:
        dataset: the data set's name.
        visible: how many tests are visible; None: those that the data set itself shows.
        summary: which tests are seen, which score.
    """

    dataset: str
    visible: int | None = None
    summary: str


PROTOCOLS: Mapping[str, Protocol] = {
    "mbpp-1": Protocol(
        dataset="mbpp",
        visible=1,
        summary="MBPP, the first assert seen, all three score (as LDB, LPW and MapCoder run)",
    ),
    "mbpp-published": Protocol(
        dataset="mbpp", summary="MBPP, all three asserts seen, the same three score (as EG-CFG ran)"
    ),
    "humaneval": Protocol(
        dataset="humaneval", summary="HumanEval, the docstring's examples seen, check scores"
    ),
    "humaneval+": Protocol(
        dataset="humaneval+",
        summary="HumanEval+, the docstring's examples seen, base and further inputs score",
    ),
    "mbpp+": Protocol(
        dataset="mbpp+", summary="MBPP+, the base asserts seen, base and further inputs score"
    ),
}


def with_protocol(
    name: str, origin: str, dataset: str | None, options: Sequence[OptionValue]
) -> tuple[Protocol, list[OptionValue]]:
    """Return a protocol, and the options with what it fixes.

    Args:
        name: of the protocol.
        origin: the source that named it.
        dataset: the data set that was asked for; None: nobody asked for one.
        options: those that were given.

    Raises:
        UnknownNameError: there is no such protocol.
        ConfigError: another data set was asked for, or another number of visible tests.
    """
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    protocol = PROTOCOLS[name]
    if dataset not in (None, protocol.dataset):
        raise ConfigError(
            f"{origin}: the protocol {name!r} is of the data set {protocol.dataset!r}, not "
            f"{dataset!r}; leave out one of the two"
        )
    given = [option for option in options if (option.kind, option.name) == (Kind.DATASET, VISIBLE)]
    for option in given:
        if str(option.value) != str(protocol.visible):
            raise ConfigError(
                f"{option.origin}: the protocol {name!r} says already which tests are visible; "
                "leave out one of the two"
            )
    if given or protocol.visible is None:
        return protocol, list(options)
    fixed = OptionValue(
        kind=Kind.DATASET,
        component=protocol.dataset,
        name=VISIBLE,
        value=protocol.visible,
        origin=f"{origin}: {name}",
    )
    return protocol, [*options, fixed]
