"""What is known ahead of the response, and which drafts are worth asking about.

Scoring a run of tokens costs about as much as scoring one (on an endpoint: one request), so each
question brings along tokens that may come next; what turns out right need not be asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from attrs import define, field

from egcfg.interfaces.backend import TokenLogprobs

__all__ = ["Lookahead", "line_drafts", "repeated_run"]

MATCH = 3
"""Tokens that must agree before what followed them once is expected again."""


@define
class Lookahead:
    """The distributions known ahead of one branch, by the tokens that lead to them from here."""

    _known: dict[tuple[int, ...], TokenLogprobs] = field(factory=dict)

    @property
    def here(self) -> TokenLogprobs | None:
        """The distribution of the next token, if known."""
        return self.behind(())

    def behind(self, run: tuple[int, ...]) -> TokenLogprobs | None:
        """The distribution after the tokens of `run`, if known."""
        return self._known.get(run)

    @property
    def way(self) -> tuple[int, ...]:
        """The longest way on which all distributions are known."""
        return max(filter(self.knows, self._known), key=len, default=())

    def knows(self, run: Sequence[int]) -> bool:
        """Whether the distributions after each prefix of `run` are known, the whole included."""
        return all(tuple(run[:end]) in self._known for end in range(len(run) + 1))

    def learn(
        self, run: tuple[int, ...], distributions: Iterable[TokenLogprobs], start: int = 0
    ) -> None:
        """Take note of the distributions after ``run[:start]``, ``run[: start + 1]``, ... ."""
        for end, distribution in enumerate(distributions, start):
            self._known.setdefault(run[:end], distribution)

    def advance(self, token: int) -> None:
        """Move one token on; what lay on other ways is forgotten."""
        self._known = {run[1:]: d for run, d in self._known.items() if run[:1] == (token,)}

    def forget(self) -> None:
        """Forget everything: the branch is another one."""
        self._known.clear()


def line_drafts(
    runs: Iterable[tuple[int, ...]], decode: Callable[[Sequence[int]], str], room: int
) -> list[tuple[int, ...]]:
    """Return the distinct first lines of `runs`, none of them the beginning of another.

    Args:
        runs: token ids that may come next.
        decode: gives the text of ids.
        room: tokens at most.
    """
    lines = dict.fromkeys(_first_line(run[: max(0, room)], decode) for run in runs)
    return [
        line
        for line in lines
        if line and not any(o != line and o[: len(line)] == line for o in lines)
    ]


def repeated_run(ids: Sequence[int], length: int) -> tuple[int, ...]:
    """Return up to `length` tokens that followed the last `MATCH` ones when they came last before.

    Prompt lookup decoding (Saxena, 2023): code repeats its names, and here the prompt holds whole
    candidate programs.
    """
    if len(ids) <= MATCH:
        return ()
    tokens = np.asarray(ids)
    before = tokens[:-1]
    found = np.ones(len(before) - MATCH + 1, dtype=bool)
    for offset in range(MATCH):
        found &= before[offset : offset + len(found)] == tokens[offset - MATCH]
    places = np.flatnonzero(found)
    if not places.size:
        return ()
    start = int(places[-1]) + MATCH
    return tuple(tokens[start : start + length].tolist())


def _first_line(run: tuple[int, ...], decode: Callable[[Sequence[int]], str]) -> tuple[int, ...]:
    for end in range(1, len(run) + 1):
        if "\n" in decode(run[:end]):
            return run[:end]
    return run
