"""What tokens cost, and the table of prices: for all models, or for some by name.

    [prices]                      # per million tokens, in whatever currency the service takes
    input = 0.2
    cached_input = 0.1            # if left out: as input
    output = 0.6

    [prices."org/large-model"]    # instead of the above, for this model
    input = 0.9
    output = 0.9

As one text, for a flag or a variable: ``input=0.2,cached_input=0.1,output=0.6``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
from attrs import field, frozen, validators

from egcfg.errors import did_you_mean
from egcfg.plugins.options import split_list, to_float

if TYPE_CHECKING:
    from egcfg.interfaces.usage import Usage

__all__ = ["PriceTable", "Prices"]

MILLION = 1_000_000


@frozen(kw_only=True)
class Prices:
    """What a service takes, per million tokens, in whatever currency it takes it.

    Attributes:
        input: of prompt tokens.
        output: of generated tokens.
        cached_input: of prompt tokens that its cache answered; None: as of others.
    """

    input: float = field(validator=validators.ge(0))
    output: float = field(validator=validators.ge(0))
    cached_input: float | None = field(
        default=None, validator=validators.optional(validators.ge(0))
    )

    def cost(self, usage: Usage) -> float:
        """Return what `usage` costs."""
        cached = self.input if self.cached_input is None else self.cached_input
        parts = (
            usage.uncached_tokens * self.input
            + usage.cached_tokens * cached
            + usage.output_tokens * self.output
        )
        return parts / MILLION


PARTS = tuple(f.name for f in attrs.fields(Prices))


@frozen(kw_only=True)
class PriceTable:
    """What tokens cost.

    Attributes:
        default: of every model that is not named; None: only named models have prices.
        models: by the model's name, as it is given in ``--model`` or as its results' folder has it.
    """

    default: Prices | None = None
    models: Mapping[str, Prices] = field(factory=dict, hash=False)

    def of(self, model: str) -> Prices | None:
        """Return the prices of a model, or of the model behind a results folder's name."""
        for name, prices in self.models.items():
            if model in (name, name.replace("/", "_")):
                return prices
        return self.default

    @classmethod
    def read(cls, value: object) -> PriceTable:
        """Read a table, or the text of a flag.

        Raises:
            ValueError: it is neither, or a price is missing, unknown or no number.
        """
        if isinstance(value, cls):
            return value
        table = _of_text(value) if isinstance(value, str) else value
        if not isinstance(table, Mapping):
            raise ValueError(f"{value!r} is no table of prices, such as input=0.2,output=0.6")
        models = {str(name): entry for name, entry in table.items() if isinstance(entry, Mapping)}
        own = {name: entry for name, entry in table.items() if name not in models}
        return cls(
            default=_prices(own, "") if own or not models else None,
            models={name: _prices(entry, f"{name}: ") for name, entry in models.items()},
        )

    def as_table(self) -> dict[str, Any]:
        """Return what `read` reads."""
        own = {} if self.default is None else _plain(self.default)
        return {**own, **{name: _plain(prices) for name, prices in self.models.items()}}


def _of_text(text: str) -> dict[str, Any]:
    table = {}
    for part in split_list(text):
        name, equals, price = part.partition("=")
        if not equals:
            raise ValueError(f"{part!r} is no price, such as input=0.2")
        table[name.strip()] = price.strip()
    return table


def _prices(table: Mapping[str, Any], where: str) -> Prices:
    for name in table:
        if name not in PARTS:
            raise ValueError(f"{where}no price named {name!r}{did_you_mean(name, PARTS)}")
    for name in ("input", "output"):
        if name not in table:
            raise ValueError(f"{where}the price {name!r} is missing; give it per million tokens")
    numbers = {name: to_float(price) for name, price in table.items()}
    for name, number in numbers.items():
        if number < 0:
            raise ValueError(f"{where}the price {name!r} must be at least 0, not {number:g}")
    return Prices(**numbers)


def _plain(prices: Prices) -> dict[str, float]:
    return {name: value for name, value in attrs.asdict(prices).items() if value is not None}
