"""The choice of one token from a guided distribution: the likeliest, or one that is drawn."""

from __future__ import annotations

import zlib

import numpy as np
from attrs import field, frozen

from egcfg.interfaces.backend import TokenLogprobs

__all__ = ["TokenChooser"]


@frozen
class TokenChooser:
    """Chooses the tokens of one response.

    A drawn token depends on the distribution, the seed and the position alone, not on the way by
    which the distribution was had. So drafts change nothing here either: a drafted token is
    accepted with just the probability that the guided distribution gives it. (The rule of
    speculative sampling, which accepts more often, would be wrong: it takes drafts that know
    nothing of the target, while here the signal is made from the very candidates that are drafts.)

    Attributes:
        temperature: 0: the likeliest token; else divides the guided log-probabilities. Of a cut
            distribution, one of the listed tokens is drawn.
        seed: of the draws.
        task_id: makes the draws those of this problem.
    """

    temperature: float
    seed: int
    task_id: str
    _stream: int = field(init=False, repr=False)

    @_stream.default
    def _of_task(self) -> int:
        return zlib.crc32(self.task_id.encode())

    def choose(self, distribution: TokenLogprobs, position: int) -> int:
        """Return the token at `position` of the response."""
        if self.temperature == 0.0:
            return distribution.argmax()
        scaled = distribution.logprobs.astype(np.float64) / self.temperature
        mass = np.cumsum(np.exp(scaled - scaled.max()))
        mark = np.random.default_rng([self.seed, self._stream, position]).random() * mass[-1]
        index = min(int(np.searchsorted(mass, mark, side="right")), len(mass) - 1)
        return index if distribution.ids is None else int(distribution.ids[index])
