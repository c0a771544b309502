"""What tokens cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from egcfg.interfaces.backend import Usage

__all__ = ["Prices"]

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
        fresh = usage.input_tokens - usage.cached_tokens
        parts = (
            fresh * self.input + usage.cached_tokens * cached + usage.output_tokens * self.output
        )
        return parts / MILLION
