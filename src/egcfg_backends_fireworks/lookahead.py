"""What a server told about tokens that nobody has asked for yet.

Where no draft foretells the next token, asking for one would take a request per token. So the
server is let go on by itself for a few tokens, and the distributions on its way are kept: as long
as the text goes the same way, they are asked for no more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from attrs import define, field, frozen

from egcfg.backend import TokenLogprobs

__all__ = ["Lookahead"]

REMEMBERED = 256
"""Positions kept: several ways of both branches. Each holds its whole prefix."""


@frozen
class _Step:
    """One position: its distribution, and the token along which the next one is known."""

    distribution: TokenLogprobs
    token: int | None


@define
class Lookahead:
    """The distributions behind some prefixes, and the ways that lead from one to the next."""

    _steps: OrderedDict[tuple[int, ...], _Step] = field(factory=OrderedDict, init=False, repr=False)

    def remember(
        self, ids: tuple[int, ...], distributions: Sequence[TokenLogprobs], tokens: Sequence[int]
    ) -> None:
        """Keep the distributions after `ids` and after each of the tokens that follow.

        Args:
            ids: the prefix.
            distributions: as many as `tokens`, or one more.
            tokens: the way from each distribution to the next.
        """
        for position, distribution in enumerate(distributions):
            token = tokens[position] if position < len(distributions) - 1 else None
            prefix = (*ids, *tokens[:position])
            self._steps[prefix] = _Step(distribution, token)
            self._steps.move_to_end(prefix)
        while len(self._steps) > REMEMBERED:
            self._steps.popitem(last=False)

    def distribution(self, ids: tuple[int, ...]) -> TokenLogprobs | None:
        """Return the distribution after `ids`; None where it is not known."""
        step = self._steps.get(ids)
        return None if step is None else step.distribution

    def way(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Return the tokens along which the distributions behind `ids` are known."""
        tokens: list[int] = []
        while (step := self._steps.get((*ids, *tokens))) is not None and step.token is not None:
            tokens.append(step.token)
        return tuple(tokens)
