"""The distributions that a server told along with what it was asked for.

A request for one token costs as much as one for several. So a server is let generate a few tokens
at once, and whatever it tells about them, or about tokens that it sampled, is kept: as long as the
text goes the same way, the next distributions need no request.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from attrs import define, field, frozen

from egcfg.interfaces.backend import Logprobs
from egcfg_backends_fireworks.bounded import BoundedDict

__all__ = ["ScoredPrefixes", "prefix_key"]

REMEMBERED: Final = 16384
"""Prefixes kept, about a kilobyte each: the candidates of several lines, of dozens of tasks."""


@frozen
class _Entry:
    """A scored prefix.

    Attributes:
        distribution: of the token after it.
        token: a token after which the distribution is known as well; None: there is none.
    """

    distribution: Logprobs
    token: int | None


@define
class ScoredPrefixes:
    """Next-token distributions by prefix, and the tokens that lead from one prefix to the next."""

    _entries: BoundedDict[bytes, _Entry] = field(
        factory=lambda: BoundedDict(REMEMBERED), init=False, repr=False
    )

    def remember(
        self, ids: Sequence[int], distributions: Sequence[Logprobs], tokens: Sequence[int]
    ) -> None:
        """Keep the distributions after `ids` and after each of the tokens that follow.

        Args:
            ids: the prefix.
            distributions: as many as `tokens`, or one more.
            tokens: what follows `ids`.
        """
        following: list[int | None] = [*tokens[: len(distributions) - 1], None]
        for key, distribution, token in zip(
            _keys(ids, tokens), distributions, following, strict=False
        ):
            known = self._entries.get(key)
            if token is None and known is not None:
                token = known.token
            self._entries[key] = _Entry(distribution, token)

    def after(self, ids: Sequence[int], draft: Sequence[int]) -> list[Logprobs] | None:
        """Return the distributions after `ids` and after each token of `draft` that follows.

        Returns:
            None where one of them is not known.
        """
        entries = [self._entries.get(key) for key in _keys(ids, draft)]
        known = [entry.distribution for entry in entries if entry is not None]
        return known if len(known) == len(entries) else None

    def tokens_after(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Return the tokens after `ids` along which the distributions are known."""
        tokens: list[int] = []
        prefix = _hash(ids)
        while (entry := self._entries.get(prefix.digest())) and entry.token is not None:
            tokens.append(entry.token)
            prefix.update(_packed((entry.token,)))
        return tuple(tokens)


def prefix_key(ids: Sequence[int]) -> bytes:
    """Return a short key for a prefix, the same for equal ids only."""
    return _hash(ids).digest()


def _keys(ids: Sequence[int], tokens: Sequence[int]) -> Iterator[bytes]:
    """Yield the key of `ids`, then those of `ids` with more and more of `tokens`."""
    prefix = _hash(ids)
    yield prefix.digest()
    for token in tokens:
        prefix.update(_packed((token,)))
        yield prefix.digest()


def _hash(ids: Iterable[int]) -> hashlib.blake2b:
    return hashlib.blake2b(_packed(ids), digest_size=16)


def _packed(ids: Iterable[int]) -> bytes:
    return array("q", ids).tobytes()
