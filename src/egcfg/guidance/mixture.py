"""The linear mixture of two distributions' log-probabilities, which most rules are made of.

``log P = log P_uncond + gamma (log P_cond - log P_uncond)``, renormalised; section 3 of the paper.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace
from attrs import frozen
from numpy.typing import NDArray

from egcfg.interfaces.backend import Array, Logprobs
from egcfg.interfaces.guidance import Guided

__all__ = ["Plausible", "mix"]

FloatVector: TypeAlias = NDArray[np.float64]
BoolVector: TypeAlias = NDArray[np.bool_]


@frozen(kw_only=True)
class Plausible:
    """Which tokens may be chosen: those that reach one of two least log-probabilities."""

    unconditional: float = math.inf
    conditional: float = math.inf

    def holds(self, unconditional: Array, conditional: Array) -> Array:
        """Return, per token, whether it may be chosen; shape (n,)."""
        return (unconditional >= self.unconditional) | (conditional >= self.conditional)


def mix(
    unconditional: Logprobs,
    conditional: Logprobs,
    gamma: float,
    plausible: Plausible | None = None,
) -> Guided:
    """Mix two distributions linearly, in log space.

    gamma 0 returns `unconditional` and, where every token is plausible, gamma 1 `conditional`,
    without any arithmetic. A token that the unconditional distribution rules out stays ruled out,
    whatever gamma is.

    Of two cut distributions, the union of their tokens is mixed. A token that one list lacks takes
    that list's `Logprobs.tail_bound`, the most it can have; `Guided.certain` tells whether its true
    value could change the argmax. Where the formula rewards a token for being *unlikely* (under the
    unconditional distribution beyond gamma 1, under the conditional one below 0), a token that this
    list lacks is unresolved, and tokens in neither list are left out of account.

    Args:
        unconditional: the distribution without the signal.
        conditional: the one with it, dense if and only if `unconditional` is.
        gamma: guidance strength.
        plausible: which tokens may be chosen; None: all.

    Raises:
        ValueError: one distribution is dense and the other is not.
    """
    if unconditional.dense != conditional.dense:
        raise ValueError("cannot mix a dense distribution with a cut one")
    if gamma == 0.0:
        return Guided(unconditional)
    if gamma == 1.0 and plausible is None:
        return Guided(conditional)
    if not unconditional.dense:
        return _mix_cut(unconditional, conditional, gamma, plausible)
    xp = array_namespace(unconditional.values, conditional.values)
    one, other = (xp.astype(d.values, xp.float64, copy=False) for d in (unconditional, conditional))
    mixed = _mixed(xp, one, other, gamma)
    if plausible is not None:
        mixed = xp.where(plausible.holds(one, other), mixed, -math.inf)
    return Guided(Logprobs(_normalised(xp, mixed)))


def _mix_cut(
    unconditional: Logprobs, conditional: Logprobs, gamma: float, plausible: Plausible | None
) -> Guided:
    assert unconditional.ids is not None  # the caller has told cut from dense
    assert conditional.ids is not None
    ids = np.union1d(unconditional.ids, conditional.ids)  # (n,), ascending
    one, in_one = _aligned(unconditional, ids)
    other, in_other = _aligned(conditional, ids)
    mixed = _mixed(np, one, other, gamma)

    # The most that each token's true value can be. A missing value is at most the bound that
    # stands for it, so the mixture is an upper bound wherever that value is weighed positively.
    upper = mixed.copy()
    if gamma > 1.0:
        upper[~in_one] = np.inf
    if gamma < 0.0:
        upper[~in_other] = np.inf
    tails = (unconditional.tail_bound, conditional.tail_bound)
    unlisted = -np.inf
    if 0.0 <= gamma <= 1.0 and (plausible is None or plausible.holds(*tails)):
        unlisted = (1.0 - gamma) * tails[0] + gamma * tails[1]

    if plausible is not None:
        # A bound that reaches the least value says only that the token might.
        upper[~plausible.holds(one, other)] = -np.inf
        known = (np.where(in_one, one, -np.inf), np.where(in_other, other, -np.inf))
        mixed[~plausible.holds(*known)] = -np.inf
    best = int(np.argmax(mixed))
    unresolved = ~(in_one & in_other) & (upper > mixed[best])
    unresolved[best] = not (in_one[best] and in_other[best])
    certain = not unresolved.any() and unlisted <= mixed[best]
    # Descending; equally likely tokens in ascending order of their ids.
    order = np.argsort(-mixed, kind="stable")
    distribution = Logprobs(_normalised(np, mixed)[order], ids[order])
    return Guided(distribution, bool(certain), tuple(ids[unresolved].tolist()))


def _mixed(xp: Any, unconditional: Array, conditional: Array, gamma: float) -> Array:
    """Return the mixture, shape (n,); -inf where either is, since -inf - -inf is no number."""
    possible = xp.isfinite(unconditional) & xp.isfinite(conditional)
    start = xp.where(possible, unconditional, 0.0)
    mixed = start + gamma * (xp.where(possible, conditional, 0.0) - start)
    return xp.where(possible, mixed, -math.inf)


def _aligned(cut: Logprobs, ids: NDArray[np.integer[Any]]) -> tuple[FloatVector, BoolVector]:
    """Return `cut` on `ids` (its tail bound where it lacks one), and which ids it lists."""
    assert cut.ids is not None
    listed = np.isin(ids, cut.ids)
    values = np.full(ids.shape, cut.tail_bound)
    order = np.argsort(cut.ids)
    values[listed] = cut.values[order]
    return values, listed


def _normalised(xp: Any, logprobs: Array) -> Array:
    """Return log-probabilities whose probabilities add up to 1; all -inf where all of them are."""
    top = xp.max(logprobs)
    if not bool(xp.isfinite(top)):
        return logprobs
    return logprobs - (top + xp.log(xp.sum(xp.exp(logprobs - top))))
