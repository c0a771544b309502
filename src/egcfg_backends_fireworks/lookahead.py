"""What a server told about tokens that nobody has asked for yet.

Where no draft foretells the next token, asking for one would take a request per token. So the
server is let go on by itself for a few tokens, and the distributions on its way are kept: as long
as the text goes the same way, they are asked for no more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from attrs import define, field, frozen

from egcfg.interfaces.backend import TokenLogprobs

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

    def along(self, ids: tuple[int, ...], draft: Sequence[int]) -> list[TokenLogprobs] | None:
        """Return the distributions after `ids` and after each token of `draft` behind it.

        Returns:
            None where one of them is not known.
        """
        steps = [self._steps.get((*ids, *draft[:end])) for end in range(len(draft) + 1)]
        known = [step.distribution for step in steps if step is not None]
        return known if len(known) == len(steps) else None

    def way(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Return the tokens along which the distributions behind `ids` are known."""
        tokens: list[int] = []
        while (step := self._steps.get((*ids, *tokens))) is not None and step.token is not None:
            tokens.append(step.token)
        return tuple(tokens)
