"""One continuation while it is being sampled: which token comes next, and when it is complete.

Knows nothing about models or tensors: distributions of the host, ids and text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from egcfg.decoding.sampling import sample_token
from egcfg.interfaces.backend import Continuation, Logprobs, SampleRequest, ScoreRequest
from egcfg_backends_hf.engine.prompt_lookup import TokenIndex, speculate
from egcfg_backends_hf.engine.token_choice import Choice

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
        self._numbers: deque[float] = deque()  # of the next tokens
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

    def choices(self, count: int) -> list[Choice]:
        """Return how the next tokens are chosen, if all of them are."""
        params = self._request.params
        while len(self._numbers) < count:
            self._numbers.append(self._random())
        numbers = islice(self._numbers, count)
        return [Choice(params.temperature, params.top_p, number) for number in numbers]

    def chosen(self, distributions: Sequence[Logprobs]) -> Iterator[int]:
        """Choose the next tokens, one as each is asked for, from distributions on the host."""
        for choice, distribution in zip(
            self.choices(len(distributions)), distributions, strict=True
        ):
            number = choice.number
            yield sample_token(distribution, choice.temperature, choice.top_p, lambda: number)  # noqa: B023

    def extend(self, draft: Sequence[int], tokens: Iterable[int]) -> None:
        """Take the tokens that were sampled, for as long as they were sampled after the right ones.

        Args:
            draft: tokens that were speculated.
            tokens: the next one, and one after each token of `draft`.
        """
        for index, token in enumerate(tokens):
            self._take(token)
            if self.done or index == len(draft) or token != draft[index]:
                return

    def continuation(self) -> Continuation:
        """Return what was sampled."""
        return Continuation(ids=self.ids, text=self._text, finished=self._finished)

    def _take(self, token: int) -> None:
        self._numbers.popleft()
        self.sampled += 1
        if token in self._end_ids:
            self._finished = self.done = True
            return
        self._ids.append(token)
        self._own.extend((token,))
        self._text = self._decode(self._ids)
        self.done = self._is_complete()

    def _is_complete(self) -> bool:
        params = self._request.params
        lines = params.max_lines
        return (
            len(self._ids) >= self._limit
            or (lines is not None and self._text.count("\n") >= lines)
            or any(stop in self._text for stop in params.stop)
        )
