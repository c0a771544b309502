"""The linear mixture of distributions' log-probabilities, which most rules are made of.

``log P = log P_uncond + gamma (log P_cond - log P_uncond)``, renormalised; section 3 of the paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from attrs import frozen
from numpy.typing import NDArray

from egcfg.interfaces.backend import Array, Logprobs
from egcfg.interfaces.guidance import Guided

__all__ = ["Plausible", "mix"]

FloatVector: TypeAlias = NDArray[np.float64]
BoolVector: TypeAlias = NDArray[np.bool_]


BLOCK = 16_384
"""Numbers that are worked on at once."""


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
    against: Logprobs | None = None,
) -> Guided:
    """Mix two distributions linearly, in log space, or three.

    gamma 0 returns `unconditional` and, where every token is plausible, gamma 1 `conditional`,
    without any arithmetic. A token that the unconditional distribution rules out stays ruled out,
    whatever gamma is.

    Of cut distributions, the union of their tokens is mixed. A token that one list lacks takes
    that list's `Logprobs.tail_bound`, the most it can have; `Guided.certain` tells whether its true
    value could change the argmax. Where the formula rewards a token for being *unlikely* (under the
    unconditional distribution beyond gamma 1, under the conditional one below 0, under `against`
    above 0), a token that this list lacks is unresolved, and tokens in no list are left out of
    account.

    Args:
        unconditional: the distribution without the signal.
        conditional: the one with it, dense if and only if `unconditional` is.
        gamma: guidance strength.
        plausible: which tokens may be chosen; None: all.
        against: what guidance leads away from, in place of the unconditional distribution:
            ``log P_uncond + gamma (log P_cond - log P_against)``. Dense as the others are.

    Raises:
        ValueError: one distribution is dense and the other is not.
    """
    distributions = [d for d in (unconditional, conditional, against) if d is not None]
    if len({each.dense for each in distributions}) > 1:
        raise ValueError("cannot mix a dense distribution with a cut one")
    if gamma == 0.0:
        return Guided(unconditional)
    if gamma == 1.0 and plausible is None and against is None:
        return Guided(conditional)
    if not unconditional.dense:
        return _mix_cut(distributions, gamma, plausible)
    xp = array_namespace(*(each.values for each in distributions))
    values = [each.values for each in distributions]
    mixed = _mixed(xp, values, gamma)
    if plausible is not None:
        mixed = xp.where(plausible.holds(*values[:2]), mixed, -math.inf)
    return Guided(Logprobs(_normalised(xp, mixed)))


def _mix_cut(
    distributions: Sequence[Logprobs], gamma: float, plausible: Plausible | None
) -> Guided:
    ids = np.unique(np.concatenate([_ids(each) for each in distributions]))  # (n,), ascending
    aligned = [_aligned(each, ids) for each in distributions]
    values, listed = [v for v, _ in aligned], [in_list for _, in_list in aligned]
    mixed = _mixed(np, values, gamma)

    # The most that each token's true value can be. A missing value is at most the bound that
    # stands for it, so the mixture is an upper bound wherever that value is weighed positively.
    upper = mixed.copy()
    weights = (1.0 - gamma, gamma) if len(distributions) == 2 else (1.0, gamma, -gamma)
    for weight, in_list in zip(weights, listed, strict=True):
        if weight < 0.0:
            upper[~in_list] = np.inf
    tails = [each.tail_bound for each in distributions]
    unlisted = -np.inf
    if min(weights) >= 0.0 and (plausible is None or plausible.holds(*tails[:2])):
        unlisted = sum(w * tail for w, tail in zip(weights, tails, strict=True))

    if plausible is not None:
        # A bound that reaches the least value says only that the token might.
        upper[~plausible.holds(*values[:2])] = -np.inf
        known = [np.where(in_list, v, -np.inf) for v, in_list in aligned[:2]]
        mixed[~plausible.holds(*known)] = -np.inf
    best = int(np.argmax(mixed))
    in_all = np.logical_and.reduce(listed)
    unresolved = ~in_all & (upper > mixed[best])
    unresolved[best] = not in_all[best]
    certain = not unresolved.any() and unlisted <= mixed[best]
    # Descending; equally likely tokens in ascending order of their ids.
    order = np.argsort(-mixed, kind="stable")
    distribution = Logprobs(_normalised(np, mixed)[order], ids[order])
    return Guided(distribution, bool(certain), tuple(ids[unresolved].tolist()))


def _mixed(xp: Any, values: Sequence[Array], gamma: float) -> Array:
    """Return the mixture in float64, shape (n,); -inf where any of the values is, since -inf - -inf
    is no number.

    Guidance leads towards the second of the values, and away from the last: the third, or else the
    first, which it starts from. One array is made, and written over: of 150,000 numbers, making one
    takes longer than the sums.
    """
    start, towards, *others = values
    mixed = xp.astype(towards, xp.float64)
    with np.errstate(invalid="ignore"):
        mixed -= others[0] if others else start
        mixed *= gamma
        mixed += start
    mixed[~xp.isfinite(mixed)] = -math.inf
    return mixed


def _ids(cut: Logprobs) -> NDArray[np.integer[Any]]:
    assert cut.ids is not None  # the caller has told cut from dense
    return cut.ids


def _aligned(cut: Logprobs, ids: NDArray[np.integer[Any]]) -> tuple[FloatVector, BoolVector]:
    """Return `cut` on `ids` (its tail bound where it lacks one), and which ids it lists."""
    listed = np.isin(ids, _ids(cut))
    values = np.full(ids.shape, cut.tail_bound)
    order = np.argsort(_ids(cut))
    values[listed] = cut.values[order]
    return values, listed


def _normalised(xp: Any, logprobs: Array) -> Array:
    """Return log-probabilities whose probabilities add up to 1; all -inf where all of them are.

    `logprobs` is written over. Nothing here waits for a device.
    """
    top = xp.max(logprobs)
    top = xp.where(xp.isfinite(top), top, 0.0)
    # On the host in pieces that stay in its caches.
    size = BLOCK if is_numpy_array(logprobs) else len(logprobs)
    pieces = (logprobs[start : start + size] - top for start in range(0, len(logprobs), size))
    mass = sum(xp.sum(xp.exp(piece)) for piece in pieces)
    logprobs -= top + xp.log(xp.where(mass > 0.0, mass, 1.0))
    return logprobs
