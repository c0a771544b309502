"""Classifier-free guidance, the rule of the paper (section 3)."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from egcfg.interfaces.backend import Array, Logprobs
from egcfg.interfaces.guidance import Guided

__all__ = ["classifier_free_guidance"]

FloatVector: TypeAlias = NDArray[np.float64]


def classifier_free_guidance(
    unconditional: Logprobs, conditional: Logprobs, gamma: float
) -> Guided:
    """Mix two distributions: ``log P = log P_uncond + gamma (log P_cond - log P_uncond)``.

    Section 3 of the paper. gamma 0 returns `unconditional` and gamma 1 `conditional` themselves,
    without any arithmetic. A token that the unconditional distribution rules out stays ruled out,
    whatever gamma is.

    Of two cut distributions, the union of their tokens is mixed. A token that one list lacks takes
    that list's `Logprobs.tail_bound`, the most it can have; `Guided.certain` tells whether its true
    value could change the argmax. Beyond gamma 1 the formula rewards a token for being *unlikely*
    under the unconditional distribution, so there a token that its list lacks is always unresolved;
    tokens in neither list are left out of account.

    Args:
        unconditional: the distribution without the signal.
        conditional: the one with it, dense if and only if `unconditional` is.
        gamma: guidance strength, >= 0.

    Raises:
        ValueError: one distribution is dense and the other is not.
    """
    if unconditional.dense != conditional.dense:
        raise ValueError("cannot mix a dense distribution with a cut one")
    if gamma == 0.0:
        return Guided(unconditional)
    if gamma == 1.0:
        return Guided(conditional)
    if unconditional.dense:
        xp = array_namespace(unconditional.values, conditional.values)
        mixed = _mix(
            xp,
            xp.astype(unconditional.values, xp.float64, copy=False),
            xp.astype(conditional.values, xp.float64, copy=False),
            gamma,
        )
        return Guided(Logprobs(_normalise(xp, mixed)))
    return _mix_cut(unconditional, conditional, gamma)


def _mix_cut(unconditional: Logprobs, conditional: Logprobs, gamma: float) -> Guided:
    assert unconditional.ids is not None  # the caller has told cut from dense
    assert conditional.ids is not None
    ids = np.union1d(unconditional.ids, conditional.ids)  # (n,), ascending
    log_unconditional, in_unconditional = _align(unconditional, ids)
    log_conditional, in_conditional = _align(conditional, ids)
    mixed = _mix(np, log_unconditional, log_conditional, gamma)

    # The most that each token's true value can be. A missing value is at most the bound that
    # stands for it, so the mixture is an upper bound wherever that value is weighed positively.
    upper = mixed.copy()
    if gamma > 1.0:
        upper[~in_unconditional] = np.inf
        unlisted = -np.inf
    else:
        unlisted = (1.0 - gamma) * unconditional.tail_bound + gamma * conditional.tail_bound
    best = int(np.argmax(mixed))
    unresolved = ~(in_unconditional & in_conditional) & (upper > mixed[best])
    unresolved[best] = not (in_unconditional[best] and in_conditional[best])
    certain = not unresolved.any() and unlisted <= mixed[best]
    # Descending; equally likely tokens in ascending order of their ids.
    order = np.argsort(-mixed, kind="stable")
    distribution = Logprobs(_normalise(np, mixed)[order], ids[order])
    return Guided(distribution, bool(certain), tuple(ids[unresolved].tolist()))


def _mix(xp: Any, unconditional: Array, conditional: Array, gamma: float) -> Array:
    """Return the mixture, shape (n,); -inf where either is, since -inf - -inf is no number."""
    possible = xp.isfinite(unconditional) & xp.isfinite(conditional)
    start = xp.where(possible, unconditional, 0.0)
    mixed = start + gamma * (xp.where(possible, conditional, 0.0) - start)
    return xp.where(possible, mixed, -xp.inf)


def _align(cut: Logprobs, ids: NDArray[np.integer[Any]]) -> tuple[FloatVector, NDArray[np.bool_]]:
    """Return `cut` on `ids` (its tail bound where it lacks one), and which ids it lists."""
    assert cut.ids is not None
    listed = np.isin(ids, cut.ids)
    values = np.full(ids.shape, cut.tail_bound)
    order = np.argsort(cut.ids)
    values[listed] = cut.values[order]
    return values, listed


def _normalise(xp: Any, logprobs: Array) -> Array:
    """Return log-probabilities whose probabilities add up to 1; all -inf where all of them are."""
    top = xp.max(logprobs)
    if not bool(xp.isfinite(top)):
        return logprobs
    return logprobs - (top + xp.log(xp.sum(xp.exp(logprobs - top))))
