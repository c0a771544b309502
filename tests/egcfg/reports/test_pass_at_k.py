from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.reports.pass_at_k import mean_pass_at_k, pass_at_k


@st.composite
def counts(draw, largest):
    samples = draw(st.integers(1, largest))
    return samples, draw(st.integers(0, samples)), draw(st.integers(1, samples))


@given(counts(largest=400))
def test_it_is_the_exact_ratio_of_binomials(count):
    samples, correct, k = count
    exact = 1 - Fraction(math.comb(samples - correct, k), math.comb(samples, k))

    assert pass_at_k(samples, correct, k) == pytest.approx(float(exact), abs=1e-12)


@given(counts(largest=7))
def test_it_is_the_share_of_draws_that_hold_a_correct_sample(count):
    samples, correct, k = count
    draws = list(combinations([True] * correct + [False] * (samples - correct), k))

    assert pass_at_k(samples, correct, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@given(counts(largest=400))
def test_it_is_a_chance_that_grows_with_k_and_with_correct_samples(count):
    samples, correct, k = count
    chance = pass_at_k(samples, correct, k)

    assert 0.0 <= chance <= 1.0
    assert pass_at_k(samples, correct, 1) == pytest.approx(correct / samples)
    assert k == samples or chance <= pass_at_k(samples, correct, k + 1) + 1e-12
    assert correct == samples or chance <= pass_at_k(samples, correct + 1, k) + 1e-12


def test_numbers_beyond_floats_are_no_problem():
    assert pass_at_k(100_000, 1, 50_000) == pytest.approx(0.5)
    assert pass_at_k(100_000, 0, 50_000) == 0.0


@pytest.mark.parametrize("count", [(5, 6, 1), (5, -1, 1), (5, 1, 0), (5, 1, 6), (0, 0, 1)])
def test_counts_that_cannot_be_are_refused(count):
    with pytest.raises(ValueError, match=r"correct samples of|cannot draw"):
        pass_at_k(*count)


def test_a_data_set_has_the_mean_of_its_tasks_whatever_their_samples():
    assert mean_pass_at_k([(2, 1), (4, 4), (10, 0)], 1) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no task"):
        mean_pass_at_k([], 1)
