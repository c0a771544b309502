"""Guidance where the model is unsure (AdaDec, arXiv 2506.08980; USCD, arXiv 2409.05923)."""

from __future__ import annotations

import math

from array_api_compat import array_namespace
from attrs import evolve, field, frozen, validators

from egcfg.guidance.mixture import mix
from egcfg.interfaces.backend import Logprobs
from egcfg.interfaces.guidance import GuidanceRule, Guided

__all__ = ["GuideWhereUnsure"]

LARGEST_VOCABULARY = 2**20
"""Tokens that the unlisted probability can be spread over: more than any model has."""


class GuideWhereUnsure(GuidanceRule):
    """The mixture where the unconditional distribution has much entropy, else that one itself.

    Of a cut distribution the entropy is known up to how the unlisted probability is spread: all on
    one token at the least. Where that does not decide, and the choice hangs on it, the guided
    distribution is not certain.
    """

    @frozen(kw_only=True)
    class Options:
        """How much entropy is much.

        Attributes:
            threshold: nats above which the mixture is taken. Thresholds that were learned for
                models of code lie between 0.6 and 1.3 (AdaDec).
        """

        threshold: float = field(default=1.0, validator=validators.ge(0), converter=float)

    def __init__(self, options: Options) -> None:
        self._threshold = options.threshold

    def mix(self, unconditional: Logprobs, conditional: Logprobs, gamma: float) -> Guided:
        """Return the guided distribution.

        Raises:
            ValueError: one distribution is dense and the other is not.
        """
        mixed = mix(unconditional, conditional, gamma)
        least, most = _entropy(unconditional)
        if least > self._threshold:
            return mixed
        unguided = Guided(unconditional)
        alike = mixed.certain and mixed.distribution.argmax() == unconditional.argmax()
        if most <= self._threshold or alike:
            return unguided
        return evolve(unguided, certain=False, unresolved=mixed.unresolved)


def _entropy(distribution: Logprobs) -> tuple[float, float]:
    """Return the least and the most entropy that a distribution can have, in nats."""
    xp = array_namespace(distribution.values)
    values = xp.astype(distribution.values, xp.float64, copy=False)
    listed = -float(xp.sum(xp.exp(values) * xp.where(xp.isfinite(values), values, 0.0)))
    rest = 0.0 if distribution.dense else max(0.0, 1.0 - float(xp.sum(xp.exp(values))))
    if rest == 0.0:
        return listed, listed
    surprise = -rest * math.log(rest)
    return listed + surprise, listed + surprise + rest * math.log(LARGEST_VOCABULARY)
