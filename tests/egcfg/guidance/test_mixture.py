from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from egcfg.guidance.mixture import Plausible, mix
from egcfg.interfaces.backend import Logprobs

VOCABULARY = 12
logits = arrays(np.float64, VOCABULARY, elements=st.floats(-20, 20, width=32))
possible = arrays(np.bool_, VOCABULARY).filter(lambda mask: bool(mask.any()))
gammas = st.floats(-2, 4, width=32)


def distribution(values: np.ndarray) -> Logprobs:
    return Logprobs(values - np.log(np.exp(values - values.max()).sum()) - values.max())


def cut(dense: Logprobs, k: int) -> Logprobs:
    top = np.argsort(-dense.values, kind="stable")[:k]
    return Logprobs(dense.values[top], top)


def without(values: np.ndarray, kept: np.ndarray) -> Logprobs:
    """Return a distribution in which only the tokens of `kept` are possible."""
    left = values[kept]
    whole = np.full(VOCABULARY, -np.inf)
    whole[kept] = left - np.log(np.exp(left - left.max()).sum()) - left.max()
    return Logprobs(whole)


@given(logits, logits)
def test_gamma_0_is_the_unconditional_distribution_itself(a: np.ndarray, b: np.ndarray) -> None:
    unconditional, conditional = distribution(a), distribution(b)
    guided = mix(unconditional, conditional, 0.0)
    assert guided.distribution is unconditional


@given(logits, logits)
def test_gamma_1_is_the_conditional_distribution_itself(a: np.ndarray, b: np.ndarray) -> None:
    unconditional, conditional = distribution(a), distribution(b)
    guided = mix(unconditional, conditional, 1.0)
    assert guided.distribution is conditional


@given(logits, logits, gammas)
def test_guided_probabilities_are_the_normalised_geometric_mixture(
    a: np.ndarray, b: np.ndarray, gamma: float
) -> None:
    unconditional, conditional = distribution(a), distribution(b)
    guided = mix(unconditional, conditional, gamma).distribution
    weights = np.exp(unconditional.values) ** (1 - gamma) * np.exp(conditional.values) ** gamma
    assert np.allclose(np.exp(guided.values), weights / weights.sum(), atol=1e-9)


@given(logits, gammas)
def test_equal_branches_are_left_as_they_are(a: np.ndarray, gamma: float) -> None:
    unconditional = distribution(a)
    guided = mix(unconditional, distribution(a), gamma).distribution
    assert np.allclose(guided.values, unconditional.values)


@given(logits, logits, gammas, st.integers(1, VOCABULARY), st.integers(1, VOCABULARY))
def test_a_choice_called_certain_is_the_dense_choice(
    a: np.ndarray, b: np.ndarray, gamma: float, k_unconditional: int, k_conditional: int
) -> None:
    dense = distribution(a), distribution(b)
    lists = cut(dense[0], k_unconditional), cut(dense[1], k_conditional)
    best = mix(*dense, gamma).distribution
    guided = mix(*lists, gamma)
    if not 0 <= gamma <= 1 and best.argmax() not in np.union1d(lists[0].ids, lists[1].ids):
        return  # outside of [0, 1], tokens in neither list are left out of account
    if guided.certain:
        chosen = guided.distribution.argmax()
        assert best.logprob(chosen) == pytest.approx(best.values.max(), abs=1e-9)


@given(logits, logits, gammas)
def test_full_lists_decide_as_dense_distributions_do(
    a: np.ndarray, b: np.ndarray, gamma: float
) -> None:
    one, other = distribution(a), distribution(b)
    dense = mix(one, other, gamma).distribution
    full = mix(cut(one, VOCABULARY), cut(other, VOCABULARY), gamma)
    assert full.certain
    assert full.distribution.argmax() == dense.argmax()
    for token in range(VOCABULARY):
        assert full.distribution.logprob(token) == pytest.approx(dense.logprob(token), abs=1e-9)


# --- one rule for arrays of any library ---------------------------------------------------------


@given(logits, logits, possible, possible, gammas)
def test_tensors_are_mixed_as_arrays_are(
    a: np.ndarray, b: np.ndarray, kept_a: np.ndarray, kept_b: np.ndarray, gamma: float
) -> None:
    torch = pytest.importorskip("torch")

    def tensor(known: Logprobs) -> Logprobs:
        return Logprobs(torch.from_numpy(known.values))

    one, other = without(a, kept_a), without(b, kept_b)
    expected = mix(one, other, gamma).distribution
    mixed = mix(tensor(one), tensor(other), gamma).distribution
    assert isinstance(mixed.values, torch.Tensor)
    assert mixed.values.dtype is torch.float64
    np.testing.assert_allclose(mixed.values.numpy(), expected.values, rtol=0, atol=1e-12)
    assert [mixed.logprob(token) for token in range(VOCABULARY)] == mixed.values.tolist()
    # Of equally likely tokens the smallest id, in either library.
    ties = Logprobs(torch.tensor([-2.0, -1.0, -1.0])), Logprobs(np.array([-2.0, -1.0, -1.0]))
    assert [known.argmax() for known in ties] == [1, 1]


@pytest.mark.parametrize("library", ["numpy", "torch"])
@given(a=logits, b=logits, kept_a=possible, kept_b=possible, gamma=gammas)
def test_narrow_numbers_are_mixed_as_wide_ones(
    library: str,
    a: np.ndarray,
    b: np.ndarray,
    kept_a: np.ndarray,
    kept_b: np.ndarray,
    gamma: float,
) -> None:
    """What is given in float32 is computed in float64: only the input is rounded."""

    def narrow(known: Logprobs) -> Logprobs:
        values: Any = known.values.astype(np.float32)
        if library == "torch":
            values = pytest.importorskip("torch").from_numpy(values)
        return Logprobs(values)

    def widened(known: Logprobs) -> Logprobs:
        return Logprobs(known.values.astype(np.float32).astype(np.float64))

    one, other = without(a, kept_a), without(b, kept_b)
    if gamma in (0, 1):
        return  # the distribution itself, without any arithmetic
    mixed = mix(narrow(one), narrow(other), gamma).distribution
    expected = mix(widened(one), widened(other), gamma).distribution
    assert str(mixed.values.dtype).endswith("float64")
    np.testing.assert_allclose(np.asarray(mixed.values), expected.values, rtol=0, atol=1e-12)


@given(logits, logits, possible, possible, gammas, st.integers(1, VOCABULARY))
def test_what_is_impossible_on_either_side_never_becomes_possible(
    a: np.ndarray, b: np.ndarray, kept_a: np.ndarray, kept_b: np.ndarray, gamma: float, k: int
) -> None:
    """Nor does it warn: a warning fails a test here."""
    one, other = without(a, kept_a), without(b, kept_b)
    dense = mix(one, other, gamma).distribution
    both = mix(cut(one, k), cut(other, k), gamma).distribution
    allowed = {0.0: kept_a, 1.0: kept_b}.get(gamma, kept_a & kept_b)
    assert not np.isnan(dense.values).any()
    assert not np.isnan(both.values).any()
    assert (np.isfinite(dense.values) == allowed).all()
    if allowed.any():
        assert np.exp(dense.values).sum() == pytest.approx(1.0)
    listed_by_both = set(cut(one, k).ids.tolist()) & set(cut(other, k).ids.tolist())  # type: ignore[union-attr]
    for token in listed_by_both - set(np.flatnonzero(allowed).tolist()):
        assert both.logprob(token) == -np.inf


@pytest.mark.parametrize("gamma", [0.5, 3.0])
def test_a_token_that_the_unconditional_model_rules_out_stays_ruled_out(gamma: float) -> None:
    unconditional = Logprobs(np.array([-np.inf, np.log(0.9), np.log(0.1)]))
    conditional = Logprobs(np.log(np.array([0.8, 0.1, 0.1])))
    guided = mix(unconditional, conditional, gamma).distribution
    assert guided.values[0] == -np.inf
    assert np.exp(guided.values).sum() == pytest.approx(1.0)


# --- cut lists ----------------------------------------------------------------------------------


def test_a_list_too_short_to_decide_is_reported() -> None:
    unconditional = Logprobs(np.log(np.array([0.4])), np.array([0]))
    conditional = Logprobs(np.log(np.array([0.4])), np.array([1]))
    guided = mix(unconditional, conditional, 0.5)
    assert not guided.certain
    assert guided.unresolved


@given(logits, logits, gammas, st.integers(1, VOCABULARY), st.integers(1, VOCABULARY))
def test_exact_values_of_the_unresolved_tokens_settle_the_choice(
    a: np.ndarray, b: np.ndarray, gamma: float, k_unconditional: int, k_conditional: int
) -> None:
    dense = distribution(a), distribution(b)
    lists = [cut(dense[0], k_unconditional), cut(dense[1], k_conditional)]
    guided = mix(lists[0], lists[1], gamma)
    while guided.unresolved:
        for i, exact in enumerate(dense):
            missing = [token for token in guided.unresolved if not lists[i].lists(token)]
            lists[i] = lists[i].with_values(missing, exact.values[missing].tolist())
        guided = mix(lists[0], lists[1], gamma)
    if not 0 <= gamma <= 1:
        assert guided.certain  # tokens in no list are left out of account
    if guided.certain and 0 < gamma <= 1:
        best = mix(*dense, gamma).distribution
        assert best.values.max() - best.logprob(guided.distribution.argmax()) < 1e-5


@given(logits, st.integers(1, VOCABULARY), st.integers(0, VOCABULARY - 1))
def test_values_that_were_fetched_leave_the_bound_of_the_others_alone(
    values: np.ndarray, k: int, token: int
) -> None:
    dense = distribution(values)
    short = cut(dense, k)
    longer = short if short.lists(token) else short.with_values([token], [dense.logprob(token)])
    assert longer.lists(token)
    assert longer.logprob(token) == dense.logprob(token)
    unlisted = [i for i in range(VOCABULARY) if not longer.lists(i)]
    assert all(dense.logprob(i) <= longer.tail_bound + 1e-9 for i in unlisted)
    assert longer.tail_bound <= short.tail_bound + 1e-6


def test_dense_and_cut_distributions_do_not_mix() -> None:
    dense = distribution(np.zeros(VOCABULARY))
    with pytest.raises(ValueError, match="dense"):
        mix(dense, cut(dense, 3), 0.5)


@given(logits, st.integers(1, VOCABULARY))
def test_tail_bound_is_never_below_an_unlisted_token(values: np.ndarray, k: int) -> None:
    dense = distribution(values)
    short = cut(dense, k)
    unlisted = np.delete(dense.values, short.ids)
    assert np.all(unlisted <= short.tail_bound)


def test_of_equally_likely_tokens_the_smallest_id_wins() -> None:
    assert Logprobs(np.log([0.2, 0.4, 0.4])).argmax() == 1
    assert Logprobs(np.log([0.4, 0.4, 0.2]), np.array([9, 4, 1])).argmax() == 4


# --- away from a third distribution -------------------------------------------------------------


@given(logits, logits, logits, st.floats(0.125, 3, width=32))
def test_the_contrast_starts_from_the_unconditional_distribution(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, gamma: float
) -> None:
    start, towards, away = distribution(a), distribution(b), distribution(c)
    guided = mix(start, towards, gamma, against=away).distribution
    exponents = start.values + gamma * (towards.values - away.values)
    weights = np.exp(exponents - exponents.max())
    assert np.allclose(np.exp(guided.values), weights / weights.sum(), atol=1e-9)


@given(logits, logits, gammas)
def test_the_contrast_with_the_unconditional_distribution_is_the_mixture(
    a: np.ndarray, b: np.ndarray, gamma: float
) -> None:
    start, towards = distribution(a), distribution(b)
    contrast = mix(start, towards, gamma, against=start).distribution
    assert np.allclose(
        np.exp(contrast.values), np.exp(mix(start, towards, gamma).distribution.values)
    )


@given(
    logits,
    logits,
    logits,
    st.floats(-2, 3, width=32),
    st.tuples(*[st.integers(1, VOCABULARY)] * 3),
    st.booleans(),
)
def test_a_contrast_called_certain_is_the_dense_one(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    gamma: float,
    sizes: tuple[int, int, int],
    masked: bool,
) -> None:
    dense = [distribution(values) for values in (a, b, c)]
    lists = [cut(each, k) for each, k in zip(dense, sizes, strict=True)]
    plausible = None
    if masked:
        plausible = Plausible(unconditional=float(dense[0].values.max()) + np.log(0.1))
    best = mix(dense[0], dense[1], gamma, plausible, dense[2]).distribution
    guided = mix(lists[0], lists[1], gamma, plausible, lists[2])
    if best.argmax() not in np.concatenate([each.ids for each in lists]):
        return  # tokens in no list are left out of account
    if guided.certain:
        chosen = guided.distribution.argmax()
        assert best.logprob(chosen) == pytest.approx(best.values.max(), abs=1e-9)
    else:
        known = [
            each.with_values(
                [t for t in guided.unresolved if not each.lists(t)],
                [whole.logprob(t) for t in guided.unresolved if not each.lists(t)],
            )
            for each, whole in zip(lists, dense, strict=True)
        ]
        again = mix(known[0], known[1], gamma, plausible, known[2])
        assert set(again.unresolved).isdisjoint(guided.unresolved)


def test_a_dense_distribution_and_a_list_cannot_be_contrasted() -> None:
    dense = distribution(np.zeros(VOCABULARY))
    with pytest.raises(ValueError, match="dense"):
        mix(dense, dense, 0.5, against=cut(dense, 3))


def test_what_just_reaches_one_of_both_thresholds_is_plausible() -> None:
    plausible = Plausible(unconditional=-1.0, conditional=-2.0)
    unconditional, conditional = np.array([-1.0, -1.5, -1.5]), np.array([-9.0, -2.0, -2.5])
    assert plausible.holds(unconditional, conditional).tolist() == [True, True, False]
