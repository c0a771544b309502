from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from egcfg.errors import UnknownNameError
from egcfg.guidance.cfg import classifier_free_guidance, guidance_rule
from egcfg.interfaces.backend import TokenLogprobs

VOCABULARY = 12
logits = arrays(np.float64, VOCABULARY, elements=st.floats(-20, 20, width=32))
gammas = st.floats(0, 4, width=32)


def distribution(values: np.ndarray) -> TokenLogprobs:
    return TokenLogprobs(values - np.log(np.exp(values - values.max()).sum()) - values.max())


def cut(dense: TokenLogprobs, k: int) -> TokenLogprobs:
    top = np.argsort(-dense.logprobs, kind="stable")[:k]
    return TokenLogprobs(dense.logprobs[top], top)


@given(logits, logits)
def test_gamma_0_is_the_unconditional_distribution_itself(a: np.ndarray, b: np.ndarray) -> None:
    plain, conditional = distribution(a), distribution(b)
    assert classifier_free_guidance(plain, conditional, 0.0).distribution is plain


@given(logits, logits)
def test_gamma_1_is_the_conditional_distribution_itself(a: np.ndarray, b: np.ndarray) -> None:
    plain, conditional = distribution(a), distribution(b)
    assert classifier_free_guidance(plain, conditional, 1.0).distribution is conditional


@given(logits, logits, gammas)
def test_guided_probabilities_are_the_normalised_geometric_mixture(
    a: np.ndarray, b: np.ndarray, gamma: float
) -> None:
    plain, conditional = distribution(a), distribution(b)
    guided = classifier_free_guidance(plain, conditional, gamma).distribution
    weights = np.exp(plain.logprobs) ** (1 - gamma) * np.exp(conditional.logprobs) ** gamma
    assert np.allclose(np.exp(guided.logprobs), weights / weights.sum(), atol=1e-9)


@given(logits, gammas)
def test_equal_branches_are_left_as_they_are(a: np.ndarray, gamma: float) -> None:
    plain = distribution(a)
    guided = classifier_free_guidance(plain, distribution(a), gamma).distribution
    assert np.allclose(guided.logprobs, plain.logprobs)


@given(logits, logits, gammas, st.integers(1, VOCABULARY), st.integers(1, VOCABULARY))
def test_a_choice_called_certain_is_the_dense_choice(
    a: np.ndarray, b: np.ndarray, gamma: float, k_plain: int, k_conditional: int
) -> None:
    plain, conditional = distribution(a), distribution(b)
    dense = classifier_free_guidance(plain, conditional, gamma).distribution
    guided = classifier_free_guidance(cut(plain, k_plain), cut(conditional, k_conditional), gamma)
    listed = np.union1d(cut(plain, k_plain).ids, cut(conditional, k_conditional).ids)
    if gamma > 1 and dense.argmax() not in listed:
        return  # beyond gamma 1, tokens in neither list are left out of account
    if guided.certain:
        chosen = guided.distribution.argmax()
        assert dense.logprob(chosen) == pytest.approx(dense.logprobs.max(), abs=1e-9)


@given(logits, logits, gammas)
def test_full_lists_decide_as_dense_distributions_do(
    a: np.ndarray, b: np.ndarray, gamma: float
) -> None:
    plain, conditional = distribution(a), distribution(b)
    dense = classifier_free_guidance(plain, conditional, gamma).distribution
    full = classifier_free_guidance(cut(plain, VOCABULARY), cut(conditional, VOCABULARY), gamma)
    assert full.certain
    assert full.distribution.argmax() == dense.argmax()
    for token in range(VOCABULARY):
        assert full.distribution.logprob(token) == pytest.approx(dense.logprob(token), abs=1e-9)


@pytest.mark.parametrize("gamma", [0.5, 3.0])
def test_a_token_that_the_plain_model_rules_out_stays_ruled_out(gamma: float) -> None:
    plain = TokenLogprobs(np.array([-np.inf, np.log(0.9), np.log(0.1)]))
    conditional = TokenLogprobs(np.log(np.array([0.8, 0.1, 0.1])))
    guided = classifier_free_guidance(plain, conditional, gamma).distribution
    assert guided.logprobs[0] == -np.inf
    assert np.exp(guided.logprobs).sum() == pytest.approx(1.0)


def test_a_list_too_short_to_decide_is_reported() -> None:
    plain = TokenLogprobs(np.log(np.array([0.4])), np.array([0]))
    conditional = TokenLogprobs(np.log(np.array([0.4])), np.array([1]))
    assert not classifier_free_guidance(plain, conditional, 0.5).certain


@given(logits, logits, gammas, st.integers(1, VOCABULARY), st.integers(1, VOCABULARY))
def test_exact_values_of_the_doubtful_tokens_settle_the_choice(
    a: np.ndarray, b: np.ndarray, gamma: float, k_plain: int, k_conditional: int
) -> None:
    dense = distribution(a), distribution(b)
    lists = [cut(dense[0], k_plain), cut(dense[1], k_conditional)]
    guided = classifier_free_guidance(lists[0], lists[1], gamma)
    while guided.doubts:
        for i, exact in enumerate(dense):
            missing = [token for token in guided.doubts if not lists[i].lists(token)]
            lists[i] = lists[i].with_values(missing, exact.logprobs[missing].tolist())
        guided = classifier_free_guidance(lists[0], lists[1], gamma)
    if guided.certain and 0 < gamma <= 1:
        best = classifier_free_guidance(*dense, gamma).distribution
        assert best.logprobs.max() - best.logprob(guided.distribution.argmax()) < 1e-5


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
        classifier_free_guidance(dense, cut(dense, 3), 0.5)


@given(logits, st.integers(1, VOCABULARY))
def test_tail_bound_is_never_below_an_unlisted_token(values: np.ndarray, k: int) -> None:
    dense = distribution(values)
    short = cut(dense, k)
    unlisted = np.delete(dense.logprobs, short.ids)
    assert np.all(unlisted <= short.tail_bound)


def test_of_equally_likely_tokens_the_smallest_id_wins() -> None:
    assert TokenLogprobs(np.log([0.2, 0.4, 0.4])).argmax() == 1
    assert TokenLogprobs(np.log([0.4, 0.4, 0.2]), np.array([9, 4, 1])).argmax() == 4


def test_an_unknown_rule_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'cfg'"):
        guidance_rule("cgf")
