"""Guidance among plausible tokens (the constraint of contrastive decoding, arXiv 2210.15097)."""

from __future__ import annotations

import math

from array_api_compat import array_namespace
from attrs import field, frozen, validators

from egcfg.guidance.mixture import Plausible, mix
from egcfg.interfaces.backend import Logprobs
from egcfg.interfaces.guidance import GuidanceRule, Guided

__all__ = ["GuideAmongPlausibleTokens"]


class GuideAmongPlausibleTokens(GuidanceRule):
    """The mixture among the tokens that at least one branch takes for plausible.

    A token is plausible to a branch that gives it at least a share `plausibility` of the
    probability of its likeliest token.
    """

    @frozen(kw_only=True)
    class Options:
        """How much is plausible.

        Attributes:
            plausibility: share of the likeliest token's probability, in (0, 1].
        """

        plausibility: float = field(
            default=0.1, validator=[validators.gt(0), validators.le(1)], converter=float
        )

    def __init__(self, options: Options) -> None:
        self._margin = math.log(options.plausibility)

    def mix(self, unconditional: Logprobs, conditional: Logprobs, gamma: float) -> Guided:
        """Return the guided distribution.

        Raises:
            ValueError: one distribution is dense and the other is not.
        """
        plausible = Plausible(
            unconditional=_largest(unconditional) + self._margin,
            conditional=_largest(conditional) + self._margin,
        )
        return mix(unconditional, conditional, gamma, plausible)


def _largest(distribution: Logprobs) -> float:
    return float(array_namespace(distribution.values).max(distribution.values))
