"""What work with a model may cost: limits, and the meter that holds its users to them.

The meter is read before every question to the model, or by an endpoint before every request,
retries included. So what is spent goes beyond a limit by the requests in flight at most, in each
process that works at that moment.
"""

from __future__ import annotations

from typing import Protocol

from attrs import define, field, frozen, validators

from egcfg.errors import BudgetError, ConfigError, UsageError
from egcfg.interfaces.usage import FREE, Usage
from egcfg.usage.prices import Prices

__all__ = ["Budget", "Ledger", "Meter", "Spending", "count_text"]

NO_PRICES = (
    "a limit on the cost needs prices; give them per million tokens: "
    "--prices input=0.2,cached_input=0.1,output=0.6, or the table [prices] in egcfg.toml"
)


@frozen(kw_only=True)
class Budget:
    """Limits on what a model's work may come to; None: no limit.

    Attributes:
        max_requests: requests sent, retries included.
        max_tokens: prompt tokens (cached ones included) and generated tokens together.
        max_cost: their price.
        prices: what tokens cost; needed for `max_cost`, else for what is shown.

    Raises:
        ConfigError: a limit on the cost without prices.
    """

    max_requests: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    max_tokens: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    max_cost: float | None = field(default=None, validator=validators.optional(validators.gt(0)))
    prices: Prices | None = None

    def __attrs_post_init__(self) -> None:
        if self.max_cost is not None and self.prices is None:
            raise ConfigError(NO_PRICES)

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return any(limit is not None for _, _, limit in self._limits(Usage()))

    def check(self, spent: Usage) -> None:
        """See that another request may be sent.

        Raises:
            BudgetError: a limit is reached; the message says which, and how far.
        """
        for flag, amount, limit in self._limits(spent):
            if limit is not None and amount >= limit:
                text = f"{flag} {count_text(limit)} is used up: {count_text(amount)} spent"
                raise BudgetError(f"the budget {text}", flag)

    def share(self, spent: Usage) -> float:
        """Return the part of the nearest limit that is used up; 1 at its end, 0 without limits."""
        shares = [amount / limit for _, amount, limit in self._limits(spent) if limit is not None]
        return max(shares, default=0.0)

    def concerns(self, spent: Usage) -> bool:
        """Whether what was spent is worth telling: something is limited, priced, or was sent."""
        return self.limited or self.prices is not None or spent.requests > 0

    def describe(self, spent: Usage) -> str:
        """Return what was spent, in words, and of how much."""
        cached = f" ({count_text(spent.cached_tokens)} cached)" if spent.cached_tokens else ""
        amounts = {"--max-requests": "requests", "--max-tokens-total": f"tokens{cached}"}
        return ", ".join(
            f"{'' if flag in amounts else 'cost '}{count_text(amount)}"
            f"{'' if limit is None else f' of {count_text(limit)}'}"
            f"{' ' + amounts[flag] if flag in amounts else ''}"
            for flag, amount, limit in self._limits(spent)
            if limit is not None or flag != "--max-requests" or amount
        )

    def _limits(self, spent: Usage) -> list[tuple[str, float, float | None]]:
        """Return, per limit, the flag that sets it, what was spent of it, and the limit."""
        limits: list[tuple[str, float, float | None]] = [
            ("--max-requests", spent.requests, self.max_requests),
            ("--max-tokens-total", spent.input_tokens + spent.output_tokens, self.max_tokens),
        ]
        if self.prices is not None:
            limits.append(("--max-cost", self.prices.cost(spent), self.max_cost))
        return limits


@frozen(kw_only=True)
class Spending:
    """Where a meter stands.

    Attributes:
        before: what had been spent when the meter was made.
        here: what its own users spent since.
        elsewhere: what other processes spent since.
    """

    before: Usage = field(factory=Usage)
    here: Usage = field(factory=Usage)
    elsewhere: Usage = field(factory=Usage)

    @property
    def total(self) -> Usage:
        """All of it: what a budget is held against."""
        return self.before + self.here + self.elsewhere


class Ledger(Protocol):
    """Where a meter keeps what its users spent, and reads what others did."""

    def others(self) -> Usage:
        """Return what everybody else spent, now and earlier."""

    def note(self, usage: Usage, *, at_once: bool) -> None:
        """Keep what this process spent so far; unless `at_once`, a moment later will do."""


@define
class Meter:
    """Counts what is spent, and ends it where a budget does.

    Attributes:
        budget: the limits.
        ledger: shares what is spent with other processes and later ones; None: nobody else counts.
    """

    budget: Budget = field(factory=Budget)
    ledger: Ledger | None = None
    _here: Usage = field(factory=Usage, init=False)
    _before: Usage = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._before = self._others()

    @property
    def spending(self) -> Spending:
        """What was spent up to now."""
        others = self._others()
        return Spending(before=self._before, here=self._here, elsewhere=others - self._before)

    def add(self, spent: Usage) -> None:
        """Count what one request cost."""
        self._here += spent
        # With a limit others must know at once how much of it is left.
        self._keep(at_once=self.budget.limited)

    def settle(self) -> None:
        """Keep what was spent up to now."""
        self._keep(at_once=True)

    def check(self, pending: Usage = FREE) -> None:
        """See that another request may be sent.

        Args:
            pending: what the call that would send it has spent, which is not counted yet.

        Raises:
            BudgetError: a limit is reached.
            UsageError: the limit is on requests, and the backend sends none.
        """
        if not self.budget.limited:
            return
        self.budget.check(self._others() + self._here + pending)
        if self.budget.max_requests and self._here.forward_passes and not self._here.requests:
            raise UsageError(
                "--max-requests: this backend runs the model here and sends no requests; "
                "limit its work by --max-tokens-total"
            )

    def _keep(self, *, at_once: bool) -> None:
        if self.ledger is not None and self._here != Usage():
            self.ledger.note(self._here, at_once=at_once)

    def _others(self) -> Usage:
        return Usage() if self.ledger is None else self.ledger.others()


def count_text(amount: float) -> str:
    """Return a count, or a cost with as many digits as tell something."""
    if isinstance(amount, int):
        return str(amount)
    digits = 2 if amount >= 10 else 4 if amount >= 0.01 else 6
    return f"{amount:.{digits}f}".rstrip("0").rstrip(".")
