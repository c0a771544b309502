"""Draws tokens from log-probabilities and says when a sampled continuation is complete.

Knows nothing about models or tensors: plain arrays, ids and text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from egcfg.backend import Continuation, FloatArray, SamplingParams, TokenLogprobs

__all__ = ["Row", "draw_token"]


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
        prefix: the tokens that it continues.
        number: its place among the continuations of its query; with the seed it fixes its random
            numbers, whatever the other rows do.
        params: how it is drawn and when it stops.
        limit: tokens at most, no more than ``params.max_tokens``.
        end_ids: tokens that end it.
        decode: gives the text of ids.
        budget: bytes of distributions that it may carry; above, it carries none.
    """

    def __init__(
        self,
        prefix: tuple[int, ...],
        number: int,
        params: SamplingParams,
        limit: int,
        end_ids: frozenset[int],
        decode: Callable[[Sequence[int]], str],
        budget: int,
    ) -> None:
        self.prefix = prefix
        self._params = params
        self._limit = limit
        self._end_ids = end_ids
        self._decode = decode
        self._random = np.random.default_rng([params.seed, number])
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

    def extend(self, distribution: TokenLogprobs) -> None:
        """Draw the next token from a dense distribution and see whether that was the last.

        Sets `done`, and counts in `drawn` every token drawn, an end token included.
        """
        token = draw_token(distribution.logprobs, self._params, self._random)
        self.drawn += 1
        if token in self._end_ids:
            self._finished = self.done = True
            return
        self._ids.append(token)
        if self._scores is not None:
            self._scores.append(distribution)
            if len(self._ids) * distribution.logprobs.nbytes > self._budget:
                self._scores = None
        self._text = self._decode(self._ids)
        self.done = self._is_complete()

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
