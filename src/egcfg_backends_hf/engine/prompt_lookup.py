"""Prompt lookup decoding (Saxena, 2023): tokens that may come next, because they came before.

Scoring a run of tokens costs about as much as scoring one, code repeats its names, and a guided
prompt contains whole candidate programs. A wrong guess costs tokens of a pass, never the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["LONGEST_GUESS", "TokenIndex", "speculate"]

MATCH = 3
"""Tokens that must agree before what followed them once is expected again."""

LONGEST_GUESS = 4
"""Speculated tokens at most, for a continuation in one pass."""


class TokenIndex:
    """Where each run of `MATCH` tokens came last in a growing sequence.

    Args:
        ids: what the sequence starts with.
    """

    def __init__(self, ids: Sequence[int] = ()) -> None:
        self._ids: list[int] = []
        self._next: dict[tuple[int, int, int], int] = {}
        self.extend(ids)

    def extend(self, ids: Sequence[int]) -> None:
        """Append tokens."""
        start = max(0, len(self._ids) - MATCH)
        self._ids.extend(ids)
        new = self._ids[start:]
        # The last run has nothing after it yet: it leads nowhere, least of all to itself.
        runs = zip(new, new[1:], new[2:-1], strict=False)
        self._next.update(zip(runs, range(start + MATCH, len(self._ids)), strict=False))

    def after(self, run: tuple[int, ...], length: int) -> tuple[int, ...]:
        """Return up to `length` tokens that followed `run` when it came last; () if it did not."""
        place = self._next.get(run)  # type: ignore[arg-type]  # a shorter run is not in it
        return () if place is None else tuple(self._ids[place : place + length])


def speculate(ids: Sequence[int], indexes: Iterable[TokenIndex], length: int) -> tuple[int, ...]:
    """Return up to `length` tokens that may follow `ids`, `LONGEST_GUESS` at most.

    Args:
        ids: the last `MATCH` of them are looked up.
        indexes: where to look, the first that has them decides.
        length: tokens at most; may be negative.
    """
    run, length = tuple(ids[-MATCH:]), min(length, LONGEST_GUESS)
    if length < 1:
        return ()
    return next(filter(None, (index.after(run, length) for index in indexes)), ())
