"""What each built-in rule does; what every rule promises is checked by the suite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from egcfg.interfaces.backend import Logprobs
from egcfg.interfaces.guidance import GuidanceRule
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create, registry
from egcfg.testing import GuidanceSuite

RULES = sorted(registry().components(Kind.GUIDANCE))
VOCABULARY = 10
logits = arrays(np.float64, VOCABULARY, elements=st.floats(-12, 12, width=32))
gammas = st.floats(-1, 3, width=32)


def rule(name: str, **options: Any) -> GuidanceRule:
    made: GuidanceRule = create(Kind.GUIDANCE, name, options)
    return made


def distribution(values: np.ndarray) -> Logprobs:
    return Logprobs(values - np.log(np.exp(values - values.max()).sum()) - values.max())


def of(*probabilities: float) -> Logprobs:
    return Logprobs(np.log(np.array(probabilities)))


def cut(dense: Logprobs, k: int) -> Logprobs:
    top = np.argsort(-dense.values, kind="stable")[:k]
    return Logprobs(dense.values[top], top)


def chosen(name: str, one: Logprobs, other: Logprobs, gamma: float, **options: Any) -> int:
    return rule(name, **options).mix(one, other, gamma).distribution.argmax()


# --- all of them --------------------------------------------------------------------------------


class TestAgree(GuidanceSuite):
    name = "agree"


class TestBounded(GuidanceSuite):
    name = "bounded"


class TestCfg(GuidanceSuite):
    name = "cfg"


class TestEntropy(GuidanceSuite):
    name = "entropy"


class TestJsd(GuidanceSuite):
    name = "jsd"


class TestReversal(GuidanceSuite):
    name = "reversal"


def test_every_built_in_rule_is_checked_here() -> None:
    checked = (TestAgree, TestBounded, TestCfg, TestEntropy, TestJsd, TestReversal)
    assert [suite.name for suite in checked] == RULES


@pytest.mark.parametrize("name", ["cfg", "jsd", "bounded", "reversal", "agree"])
@given(a=logits, b=logits, low=gammas, step=st.floats(0, 1, width=32))
def test_more_gamma_never_turns_back_from_what_the_conditional_branch_prefers(
    name: str, a: np.ndarray, b: np.ndarray, low: float, step: float
) -> None:
    one, other = distribution(a), distribution(b)
    less, more = (rule(name).mix(one, other, g).distribution for g in (low, low + step))
    shift = other.values - one.values
    # Of a mixture's likeliest token the gain by the signal never falls.
    assert shift[more.argmax()] >= shift[less.argmax()] - 1e-6


@pytest.mark.parametrize("name", RULES)
def test_dense_and_cut_distributions_do_not_mix(name: str) -> None:
    dense = of(0.7, 0.2, 0.1)
    with pytest.raises(ValueError, match="dense"):
        rule(name).mix(dense, cut(of(0.1, 0.2, 0.7), 2), 0.5)


# --- each ---------------------------------------------------------------------------------------


def test_agree_holds_what_both_prefer_where_the_mixture_overturns_it() -> None:
    one, other = of(0.5, 0.1, 0.4), of(0.45, 0.4, 0.15)
    assert chosen("cfg", one, other, 3.0) == 1
    assert chosen("agree", one, other, 3.0) == 0
    assert chosen("agree", of(0.5, 0.4, 0.1), of(0.4, 0.5, 0.1), 0.9) == 1


def test_jsd_guides_little_where_the_branches_are_nearly_alike() -> None:
    one, other = of(0.51, 0.49), of(0.49, 0.51)
    assert chosen("cfg", one, other, 0.9) == 1
    assert chosen("jsd", one, other, 0.9) == 0
    assert chosen("jsd", one, other, 0.9, floor=1) == 1


def test_jsd_of_branches_without_a_common_token_is_the_whole_gamma() -> None:
    one = distribution(np.array([12.0, -12, 0.0]))
    other = distribution(np.array([-12, 12.0, 0.0]))
    mixed = [rule(name).mix(one, other, 0.6).distribution.values for name in ("jsd", "cfg")]
    np.testing.assert_allclose(*mixed, atol=1e-3)


def test_entropy_guides_where_the_model_is_unsure_only() -> None:
    other = of(0.05, 0.9, 0.05)
    assert chosen("entropy", of(0.9, 0.05, 0.05), other, 1.0) == 0
    assert chosen("entropy", of(0.4, 0.3, 0.3), other, 1.0) == 1
    assert chosen("entropy", of(0.4, 0.3, 0.3), other, 1.0, threshold=1.2) == 0


def test_entropy_of_a_short_list_may_leave_the_choice_open() -> None:
    one, other = cut(of(0.6, 0.1, 0.1, 0.1, 0.1), 1), cut(of(0.1, 0.6, 0.1, 0.1, 0.1), 5)
    assert not rule("entropy", threshold=1.1).mix(one, other, 1.0).certain
    assert rule("entropy", threshold=0.2).mix(one, other, 1.0).certain
    assert rule("entropy", threshold=20).mix(one, other, 1.0).certain


def test_bounded_keeps_tokens_out_that_neither_branch_holds_plausible() -> None:
    one, other = of(0.9, 0.0999, 0.0001), of(0.8, 0.19, 0.01)
    assert chosen("cfg", one, other, 3.0) == 2
    assert chosen("bounded", one, other, 3.0) == 1
    assert chosen("bounded", one, other, 3.0, plausibility=1e-4) == 2


def test_reversal_takes_the_branch_whose_side_of_the_threshold_gamma_is_on() -> None:
    one, other = of(0.6, 0.3, 0.1), of(0.2, 0.7, 0.1)
    threshold = math.log(2) / (math.log(2) + math.log(3.5))
    for gamma, taken in ((threshold - 0.01, one), (threshold + 0.01, other)):
        assert rule("reversal").mix(one, other, gamma).distribution is taken


def test_reversal_asks_for_the_one_value_that_decides() -> None:
    one, other = cut(of(0.6, 0.3, 0.1), 1), cut(of(0.2, 0.7, 0.1), 3)
    guided = rule("reversal").mix(one, other, 0.7)
    assert guided.unresolved == (1,)
    assert rule("reversal").mix(one, other, 0.1).certain
