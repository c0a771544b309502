"""The choice of a token from a distribution: the one sampler, for the decoder and for backends."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
from array_api_compat import array_namespace, to_device
from attrs import field, frozen

from egcfg.interfaces.backend import Logprobs

__all__ = ["Sampler", "sample_token"]


def sample_token(
    distribution: Logprobs, temperature: float, top_p: float, random: Callable[[], float]
) -> int:
    """Return one token id.

    Args:
        distribution: dense or cut; of a cut one, one of the listed tokens is sampled.
        temperature: divides the log-probabilities; 0: the likeliest token, of equal ones the
            smallest id.
        top_p: the smallest set of likeliest tokens whose mass reaches it is sampled from (nucleus
            sampling, Holtzman et al. 2020); 1: all of them.
        random: gives a number in [0, 1); called once, unless the temperature is 0.
    """
    if temperature == 0.0:
        return distribution.argmax()
    xp = array_namespace(distribution.values)
    scaled = xp.astype(distribution.values, xp.float64)  # a copy, which is written over
    scaled /= temperature
    scaled -= xp.max(scaled)
    weights = xp.exp(scaled)
    if top_p >= 1.0:  # where the values are: it needs no sorting
        mass = xp.cumulative_sum(weights)
        place = xp.searchsorted(mass, random() * mass[-1:], side="right")
        chosen = min(int(place[0]), len(mass) - 1)
    else:
        weights = np.asarray(to_device(weights, "cpu"))
        total = float(weights.sum())
        # All tokens below this weight together weigh less than 1 - top_p, so none is in the
        # nucleus: sorting the few others instead of the vocabulary gives the same set.
        likely = np.flatnonzero(weights >= (1.0 - top_p) * total / len(weights))
        likely = likely[np.argsort(-weights[likely], kind="stable")]
        mass = np.cumsum(weights[likely]) / total
        nucleus = min(int(np.searchsorted(mass, top_p)) + 1, len(likely))
        place = int(np.searchsorted(mass[:nucleus], random() * mass[nucleus - 1], side="right"))
        chosen = int(likely[min(place, nucleus - 1)])
    return chosen if distribution.ids is None else int(distribution.ids[chosen])


@frozen
class Sampler:
    """Chooses the guided tokens of one response.

    A sampled token depends on the distribution, the seed and the position alone, not on how the
    distribution was obtained. So drafts change nothing here either: a drafted token is accepted
    with exactly the probability that the guided distribution gives it. (The rule of speculative
    sampling, which accepts more often, would be wrong: it takes drafts that know nothing of the
    target, while here the signal is made from the very candidates that are drafts.)

    Attributes:
        temperature: 0: the likeliest token; else divides the guided log-probabilities.
        seed: of the random numbers.
        task_id: makes the random numbers those of this problem.
    """

    temperature: float
    seed: int
    task_id: str
    _stream: int = field(init=False, repr=False)

    @_stream.default
    def _of_task(self) -> int:
        return zlib.crc32(self.task_id.encode())

    def choose(self, distribution: Logprobs, position: int) -> int:
        """Return the token at `position` of the response."""
        return sample_token(
            distribution, self.temperature, 1.0, lambda: self._random_number(position)
        )

    def is_near_tie(self, distribution: Logprobs, position: int, rounding: float) -> bool:
        """Whether the choice might be another one, were each log-probability off by `rounding`.

        Args:
            distribution: what is chosen from.
            position: of the token.
            rounding: nats.
        """
        if rounding == 0.0:
            return False
        if self.temperature == 0.0:  # the first falls, and another rises
            xp = array_namespace(values := distribution.values)
            close = values >= xp.max(values) - 2.0 * rounding
            return int(xp.sum(xp.astype(close, xp.int64))) > 1
        # The mass of a set of tokens, F, moves by F (1 - F) times the change of its odds at most.
        number, most = self._random_number(position), rounding / (2.0 * self.temperature)
        ends = max(number - most, 0.0), min(number + most, 1.0)
        low, high = (
            sample_token(distribution, self.temperature, 1.0, partial(float, end)) for end in ends
        )
        return low != high

    def _random_number(self, position: int) -> float:
        """The random number, in [0, 1), of the token at `position`."""
        return float(np.random.default_rng([self.seed, self._stream, position]).random())
