"""Guidance as strong as the branches differ (AdaCAD, arXiv 2409.07394)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from attrs import field, frozen, validators

from egcfg.guidance.mixture import mix
from egcfg.interfaces.backend import Array, Logprobs
from egcfg.interfaces.guidance import GuidanceRule, Guided

__all__ = ["GuideByDivergence"]


class GuideByDivergence(GuidanceRule):
    """The mixture at gamma times the Jensen-Shannon divergence of the two, which is in [0, 1].

    Of cut distributions the divergence is known up to how the unlisted probability is spread. The
    mixture's log-probabilities are linear in gamma, so a token that is the likeliest at both ends
    of that range is the likeliest throughout; else the guided distribution is not certain.
    """

    @frozen(kw_only=True)
    class Options:
        """How little may remain of gamma.

        Attributes:
            floor: least share of gamma, in [0, 1], however alike the branches are.
        """

        floor: float = field(
            default=0.0, validator=[validators.ge(0), validators.le(1)], converter=float
        )

    def __init__(self, options: Options) -> None:
        self._floor = options.floor

    def mix(self, unconditional: Logprobs, conditional: Logprobs, gamma: float) -> Guided:
        """Return the guided distribution.

        Raises:
            ValueError: one distribution is dense and the other is not.
        """
        if unconditional.dense != conditional.dense:
            raise ValueError("cannot mix a dense distribution with a cut one")
        least, most = (
            mix(unconditional, conditional, gamma * max(self._floor, share))
            for share in _divergence(unconditional, conditional)
        )
        alike = least.distribution.argmax() == most.distribution.argmax()
        if least.certain and most.certain and alike:
            return least
        unresolved = sorted({*least.unresolved, *most.unresolved})
        return Guided(least.distribution, certain=False, unresolved=tuple(unresolved))


def _divergence(one: Logprobs, other: Logprobs) -> tuple[float, float]:
    """Return the least and the most Jensen-Shannon divergence of two distributions, in bits.

    The least puts the probability of all tokens that are not in both lists on a single one (taking
    events together never raises a divergence); the most has no token in common there.
    """
    if one.ids is None or other.ids is None:
        xp = array_namespace(one.values, other.values)
        exact = _divergence_of(xp, *(xp.exp(_wide(xp, each.values)) for each in (one, other)))
        return exact, exact
    _, at_one, at_other = np.intersect1d(one.ids, other.ids, return_indices=True)
    listed = [np.exp(_wide(np, v)) for v in (one.values[at_one], other.values[at_other])]
    rests = [max(0.0, 1.0 - float(probabilities.sum())) for probabilities in listed]
    least = _divergence_of(np, *(np.append(p, r) for p, r in zip(listed, rests, strict=True)))
    most = _divergence_of(np, *listed) + sum(rests) / 2
    return least, max(least, min(1.0, most))


def _divergence_of(xp: Any, one: Array, other: Array) -> float:
    """Return the Jensen-Shannon divergence of probabilities of shape (n,), in bits."""
    middle = (one + other) / 2
    total = 0.0
    for each in (one, other):
        possible = each > 0
        ratio = xp.where(possible, each, 1.0) / xp.where(possible, middle, 1.0)
        total += float(xp.sum(each * xp.log(ratio)))
    return min(1.0, max(0.0, total / 2 / math.log(2)))


def _wide(xp: Any, values: Array) -> Array:
    return xp.astype(values, xp.float64, copy=False)
