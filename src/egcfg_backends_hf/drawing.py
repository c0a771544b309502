"""Draws tokens from log-probabilities and says when a sampled continuation is complete.

Knows nothing about models or tensors: plain arrays, ids and text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from egcfg.decoding.branch import repeated_run
from egcfg.interfaces.backend import (
    Continuation,
    FloatArray,
    SampleQuery,
    SamplingParams,
    TokenLogprobs,
)

__all__ = ["Row", "draw_token"]

TRIED = 4
"""Tokens of a row that are tried ahead at most."""


def draw_token(logprobs: FloatArray, params: SamplingParams, random: np.random.Generator) -> int:
    """Draw one token id.

    Args:
        logprobs: natural log-probabilities, shape (vocab,).
        params: temperature (0: the likeliest token, of equal ones the smallest id) and top-p (the
            smallest set of likeliest tokens whose mass reaches it).
        random: consumed by exactly one number per token unless the temperature is 0.
    """
    if params.temperature == 0.0:
        return int(np.argmax(logprobs))
    scaled = logprobs.astype(np.float64) / params.temperature
    weights = np.exp(scaled - scaled.max())
    weights /= weights.sum()
    # All tokens below this weight together weigh less than 1 - top_p, so none is in the nucleus:
    # sorting the few others instead of the vocabulary gives the same set.
    ids = np.flatnonzero(weights >= (1.0 - params.top_p) / len(weights))
    ids = ids[np.argsort(-weights[ids], kind="stable")]
    mass = np.cumsum(weights[ids])
    nucleus = min(int(np.searchsorted(mass, params.top_p)) + 1, len(ids))
    mark = random.random() * mass[nucleus - 1]
    chosen = int(np.searchsorted(mass[:nucleus], mark, side="right"))
    return int(ids[min(chosen, nucleus - 1)])


class Row:
    """One continuation while it is being sampled.

    Args:
        query: what it continues, how it is drawn and when it stops.
        number: its place among the continuations of its query; with the seed it fixes its random
            numbers, whatever the other rows do.
        limit: tokens at most, no more than the query says.
        end_ids: tokens that end it.
        decode: gives the text of ids.
        budget: bytes of distributions that it may carry; above, it carries none.
    """

    def __init__(
        self,
        query: SampleQuery,
        number: int,
        limit: int,
        end_ids: frozenset[int],
        decode: Callable[[Sequence[int]], str],
        budget: int,
    ) -> None:
        self.prefix = query.sequence.ids
        self._params = query.params
        self._lookup = query.lookup
        self._limit = limit
        self._end_ids = end_ids
        self._decode = decode
        self._random = np.random.default_rng([query.params.seed, number])
        self._ids: list[int] = []
        self._scores: list[TokenLogprobs] | None = []
        self._budget = budget
        self._text = ""
        self._finished = False
        self.done = limit < 1
        self.drawn = 0

    @property
    def ids(self) -> tuple[int, ...]:
        """The tokens so far, an end token not included."""
        return tuple(self._ids)

    def expected(self) -> tuple[int, ...]:
        """Return tokens that may be drawn next, because they followed the same ones before."""
        room = min(TRIED, self._limit - len(self._ids) - 1)
        if not self._lookup or room < 1:
            return ()
        return repeated_run((*self._lookup, *self.prefix, *self._ids), room)

    def extend(self, run: Sequence[int], distributions: Sequence[TokenLogprobs]) -> None:
        """Draw tokens for as long as their distributions are known.

        Sets `done` behind the last token, and counts in `drawn` every token drawn, an end token
        included.

        Args:
            run: tokens that were tried.
            distributions: dense; the first is that of the next token, the others stand after each
                token of `run`.
        """
        for index, distribution in enumerate(distributions):
            token = self._draw(distribution)
            if self.done or index == len(run) or token != run[index]:
                return

    def _draw(self, distribution: TokenLogprobs) -> int:
        token = draw_token(distribution.logprobs, self._params, self._random)
        self.drawn += 1
        if token in self._end_ids:
            self._finished = self.done = True
            return token
        self._ids.append(token)
        if self._scores is not None:
            self._scores.append(distribution)
            if len(self._ids) * distribution.logprobs.nbytes > self._budget:
                self._scores = None
        self._text = self._decode(self._ids)
        self.done = self._is_complete()
        return token

    def continuation(self) -> Continuation:
        """Return what was sampled."""
        return Continuation(
            ids=self.ids,
            text=self._text,
            finished=self._finished,
            scores=None if self._scores is None else tuple(self._scores),
        )

    def _is_complete(self) -> bool:
        params = self._params
        lines = params.max_lines
        return (
            len(self._ids) >= self._limit
            or (lines is not None and self._text.count("\n") >= lines)
            or any(stop in self._text for stop in params.stop)
        )
