"""The guidance formula: a pure function of two next-token distributions.

Knows nothing about prompts, programs or models. A rule is any callable of the shape `GuidanceRule`;
`RULES` holds the named ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from egcfg.errors import UnknownNameError
from egcfg.interfaces.backend import FloatArray, TokenLogprobs

__all__ = ["RULES", "GuidanceRule", "Guided", "classifier_free_guidance", "guidance_rule"]

FloatVector: TypeAlias = NDArray[np.float64]


@frozen(eq=False)
class Guided:
    """A guided distribution.

    Attributes:
        distribution: renormalised; dense if both inputs were, else over the union of their tokens.
        certain: False where a token that one of the lists lacks could be the true argmax.
        doubts: tokens of either list whose missing values keep it from being certain; empty where
            it is certain, or where no listed token is to blame.
    """

    distribution: TokenLogprobs
    certain: bool = True
    doubts: tuple[int, ...] = ()


GuidanceRule: TypeAlias = Callable[[TokenLogprobs, TokenLogprobs, float], Guided]
"""(unconditional, conditional, gamma) -> guided distribution."""


def classifier_free_guidance(
    plain: TokenLogprobs, conditional: TokenLogprobs, gamma: float
) -> Guided:
    """Mix two distributions: ``log P = log P_plain + gamma (log P_cond - log P_plain)``.

    Section 3 of the paper. gamma 0 returns `plain` and gamma 1 `conditional` themselves, without
    any arithmetic. A token that the plain model rules out stays ruled out, whatever gamma says.

    Of two cut distributions, the union of their tokens is mixed. A token that one list lacks takes
    that list's `TokenLogprobs.tail_bound`, the most it can have; `Guided.certain` tells whether its
    true value could change the argmax. Beyond gamma 1 the formula rewards a token for being
    *unlikely* under the plain model, so there a token that the plain list lacks is always in doubt;
    tokens in neither list are left out of account.

    Args:
        plain: the unconditional distribution.
        conditional: the conditional distribution, dense if and only if `plain` is.
        gamma: guidance strength, >= 0.

    Raises:
        ValueError: one distribution is dense and the other is not.
    """
    if plain.dense != conditional.dense:
        raise ValueError("cannot mix a dense distribution with a cut one")
    if gamma == 0.0:
        return Guided(plain)
    if gamma == 1.0:
        return Guided(conditional)
    if plain.ids is None or conditional.ids is None:
        mixed = _mix(_float64(plain.logprobs), _float64(conditional.logprobs), gamma)
        return Guided(TokenLogprobs(_normalise(mixed)))
    return _mix_cut(plain, conditional, gamma)


RULES: Mapping[str, GuidanceRule] = {"cfg": classifier_free_guidance}
"""The guidance rules by name."""


def guidance_rule(name: str) -> GuidanceRule:
    """Return the rule of that name.

    Raises:
        UnknownNameError: there is none.
    """
    try:
        return RULES[name]
    except KeyError:
        raise UnknownNameError("guidance rule", name, RULES) from None


def _mix_cut(plain: TokenLogprobs, conditional: TokenLogprobs, gamma: float) -> Guided:
    assert plain.ids is not None  # the caller has told cut from dense
    assert conditional.ids is not None
    ids = np.union1d(plain.ids, conditional.ids)  # (n,), ascending
    log_plain, in_plain = _align(plain, ids)
    log_conditional, in_conditional = _align(conditional, ids)
    mixed = _mix(log_plain, log_conditional, gamma)

    # The most that each token's true value can be. A missing value is at most the bound that
    # stands for it, so the mixture is an upper bound wherever that value is weighed positively.
    upper = mixed.copy()
    if gamma > 1.0:
        upper[~in_plain] = np.inf
        unlisted = -np.inf
    else:
        unlisted = (1.0 - gamma) * plain.tail_bound + gamma * conditional.tail_bound
    best = int(np.argmax(mixed))
    doubtful = ~(in_plain & in_conditional) & (upper > mixed[best])
    doubtful[best] = not (in_plain[best] and in_conditional[best])
    certain = not doubtful.any() and unlisted <= mixed[best]
    # Descending; equally likely tokens in ascending order of their ids.
    order = np.argsort(-mixed, kind="stable")
    distribution = TokenLogprobs(_normalise(mixed)[order], ids[order])
    return Guided(distribution, bool(certain), tuple(ids[doubtful].tolist()))


def _mix(plain: FloatVector, conditional: FloatVector, gamma: float) -> FloatVector:
    mixed = np.full_like(plain, -np.inf)
    possible = np.isfinite(plain) & np.isfinite(conditional)
    mixed[possible] = plain[possible] + gamma * (conditional[possible] - plain[possible])
    return mixed


def _align(cut: TokenLogprobs, ids: NDArray[np.integer]) -> tuple[FloatVector, NDArray[np.bool_]]:
    """Return `cut` on `ids` (its tail bound where it lacks one), and which ids it lists."""
    assert cut.ids is not None
    listed = np.isin(ids, cut.ids)
    values = np.full(ids.shape, cut.tail_bound)
    order = np.argsort(cut.ids)
    values[listed] = cut.logprobs[order]
    return values, listed


def _float64(values: FloatArray) -> FloatVector:
    return values.astype(np.float64, copy=False)


def _normalise(logprobs: FloatVector) -> FloatVector:
    top = logprobs.max()
    if not np.isfinite(top):
        return logprobs
    normalised: FloatVector = logprobs - (top + np.log(np.exp(logprobs - top).sum()))
    return normalised
