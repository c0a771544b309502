"""One continuation while it is being sampled: which token comes next, and when it is complete.

Knows nothing about models or tensors: distributions, ids and text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from egcfg.decoding.sampling import sample_token
from egcfg.interfaces.backend import Continuation, Logprobs, SampleRequest, ScoreRequest
from egcfg_backends_hf.engine.prompt_lookup import TokenIndex, speculate

__all__ = ["SamplingState"]


class SamplingState:
    """One continuation while it is being sampled.

    Args:
        request: what it continues, how it is sampled and when it stops.
        number: its place among the continuations of its request; with the seed it fixes its random
            numbers, whatever the others do.
        limit: tokens at most, no more than the request says.
        end_ids: tokens that end it.
        decode: gives the text of ids.
        indexes: where tokens that may come next are looked up that its own sequence does not
            foretell.

    Attributes:
        done: whether it is complete.
        sampled: tokens sampled so far, an end token included.
    """

    def __init__(
        self,
        request: SampleRequest,
        number: int,
        limit: int,
        end_ids: frozenset[int],
        decode: Callable[[Sequence[int]], str],
        indexes: Sequence[TokenIndex] = (),
    ) -> None:
        self._request = request
        self._limit = limit
        self._end_ids = end_ids
        self._decode = decode
        self._own = TokenIndex(request.ids)
        self._indexes = (self._own, *indexes)
        self._random = np.random.default_rng([request.params.seed, number]).random
        self._ids: list[int] = []
        self._text = ""
        self._finished = False
        self.done = limit < 1
        self.sampled = 0

    @property
    def ids(self) -> tuple[int, ...]:
        """The tokens so far, an end token not included."""
        return tuple(self._ids)

    @property
    def sequence(self) -> tuple[int, ...]:
        """The prefix and `ids`."""
        return self._request.ids + self.ids

    def next_request(self) -> ScoreRequest:
        """Return what must be scored for the next token, with a draft of tokens that may follow."""
        sequence, left = self.sequence, self._limit - len(self._ids) - 1
        return ScoreRequest(sequence, speculate(sequence, self._indexes, left))

    def extend(self, draft: Sequence[int], distributions: Sequence[Logprobs]) -> None:
        """Sample tokens for as long as their distributions are known.

        Args:
            draft: tokens that were speculated.
            distributions: dense; the first is that of the next token, the others are those after
                each token of `draft`.
        """
        for index, distribution in enumerate(distributions):
            token = self._sample(distribution)
            if self.done or index == len(draft) or token != draft[index]:
                return

    def continuation(self) -> Continuation:
        """Return what was sampled."""
        return Continuation(ids=self.ids, text=self._text, finished=self._finished)

    def _sample(self, distribution: Logprobs) -> int:
        params = self._request.params
        token = sample_token(distribution, params.temperature, params.top_p, self._random)
        self.sampled += 1
        if token in self._end_ids:
            self._finished = self.done = True
            return token
        self._ids.append(token)
        self._own.extend((token,))
        self._text = self._decode(self._ids)
        self.done = self._is_complete()
        return token

    def _is_complete(self) -> bool:
        params = self._request.params
        lines = params.max_lines
        return (
            len(self._ids) >= self._limit
            or (lines is not None and self._text.count("\n") >= lines)
            or any(stop in self._text for stop in params.stop)
        )
