from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from egcfg.decoding.sampling import Sampler, sample_token
from egcfg.interfaces.backend import Logprobs

SHARES = np.array([0.5, 0.3, 0.2])
DENSE = Logprobs(np.log(SHARES))
CUT = Logprobs(np.log(SHARES), np.array([7, 3, 9]))

logits = arrays(
    st.sampled_from([np.float32, np.float64]),
    st.integers(1, 12),
    elements=st.one_of(st.floats(-20, 0, width=32), st.just(-math.inf)),
).filter(lambda values: bool(np.isfinite(values).any()))
numbers = st.floats(0, 1, exclude_max=True)


def reference(
    values: np.ndarray, temperature: float, top_p: float, number: float
) -> tuple[int, list[int]]:
    """Return the place of the sampled token, and the places that it is sampled from.

    Temperature and nucleus sampling as they are written down: everything sorted, nothing skipped.
    """
    scaled = values.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    places = list(range(len(values)))
    if top_p < 1:
        weights /= weights.sum()
        places.sort(key=lambda place: -weights[place])
        nucleus, mass = [], 0.0
        for place in places:
            nucleus.append(place)
            mass += weights[place]
            if mass >= top_p:
                break
        places = nucleus
    total = sum(float(weights[place]) for place in places)
    passed = 0.0
    for place in places:
        passed += float(weights[place])
        if number * total < passed:
            return place, places
    raise AssertionError("the number is below 1")


@given(
    values=logits,
    temperature=st.floats(0.1, 4),
    top_p=st.one_of(st.just(1.0), st.floats(0.01, 0.99)),
    number=numbers,
    cut=st.booleans(),
)
def test_a_token_is_the_one_that_temperature_and_nucleus_sampling_take(
    values: np.ndarray, temperature: float, top_p: float, number: float, cut: bool
) -> None:
    place, nucleus = reference(values, temperature, top_p, number)
    ids = np.arange(100, 100 + len(values))[::-1].copy() if cut else None
    token = sample_token(Logprobs(values, ids), temperature, top_p, lambda: number)
    assert token == (place if ids is None else ids[place])
    assert np.isfinite(values[place])
    assert place in nucleus


def test_tensors_are_sampled_from_as_arrays_are() -> None:
    torch = pytest.importorskip("torch")
    for top_p in (0.6, 1.0):
        for number in np.linspace(0, 0.99, 12):
            tensor = Logprobs(torch.from_numpy(DENSE.values))
            expected = sample_token(DENSE, 0.8, top_p, partial(float, number))
            assert sample_token(tensor, 0.8, top_p, partial(float, number)) == expected
    assert sample_token(Logprobs(torch.tensor([-3.0, -1.0, -1.0])), 0.0, 1.0, float) == 1


def test_a_number_is_taken_once_and_none_without_a_temperature() -> None:
    given_out: list[float] = []

    def count() -> float:
        given_out.append(0.2)
        return 0.2

    assert sample_token(DENSE, 0.0, 0.5, count) == 0
    assert given_out == []
    sample_token(DENSE, 1.0, 1.0, count)
    sample_token(DENSE, 1.0, 0.9, count)
    assert given_out == [0.2, 0.2]


def test_without_a_temperature_the_likeliest_token_is_taken() -> None:
    assert Sampler(0.0, 1, "t").choose(DENSE, 4) == 0
    assert Sampler(0.0, 1, "t").choose(CUT, 4) == 7


def test_a_sampled_token_depends_on_seed_task_and_position_only() -> None:
    def sampled(seed: int = 0, task: str = "t") -> list[int]:
        sampler = Sampler(1.0, seed, task)
        return [sampler.choose(DENSE, position) for position in range(40)]

    assert sampled() == sampled()
    assert sampled() != sampled(seed=1)
    assert sampled() != sampled(task="u")
    backwards = [Sampler(1.0, 0, "t").choose(DENSE, position) for position in reversed(range(40))]
    assert backwards[::-1] == sampled()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sampled_tokens_follow_the_tempered_distribution(temperature: float) -> None:
    sampler = Sampler(temperature, 3, "t")
    sampled = np.bincount([sampler.choose(DENSE, position) for position in range(4000)])
    expected = SHARES ** (1 / temperature) / (SHARES ** (1 / temperature)).sum()
    np.testing.assert_allclose(sampled / 4000, expected, atol=0.03)
    listed = {sampler.choose(CUT, position) for position in range(60)}
    assert listed == {7, 3, 9}


@given(
    values=logits,
    temperature=st.one_of(st.just(0.0), st.floats(0.1, 4)),
    rounding=st.sampled_from([1e-6, 1e-3, 0.1, 2.0]),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_what_is_no_near_tie_rounding_cannot_turn(
    values: np.ndarray, temperature: float, rounding: float, seed: int, data: st.DataObject
) -> None:
    exact = values.astype(np.float64)
    shifts = arrays(np.float64, len(values), elements=st.floats(-rounding, rounding))
    moved = Logprobs(exact + data.draw(shifts))
    sampler = Sampler(temperature, seed, "task")
    if not sampler.is_near_tie(Logprobs(exact), 5, 1.001 * rounding):
        assert sampler.choose(moved, 5) == sampler.choose(Logprobs(exact), 5)


@pytest.mark.parametrize("distribution", [DENSE, CUT])
def test_the_likeliest_two_within_twice_the_rounding_are_a_near_tie(distribution: Logprobs) -> None:
    margin = math.log(0.5 / 0.3)
    greedy = Sampler(0.0, 0, "task")
    assert greedy.is_near_tie(distribution, 0, 0.501 * margin)
    assert not greedy.is_near_tie(distribution, 0, 0.499 * margin)
    assert not greedy.is_near_tie(Logprobs(np.log([0.5, 0.5])), 0, 0.0)


def test_drawn_tokens_are_near_ties_in_proportion_to_the_rounding() -> None:
    drawn = Sampler(1.0, 0, "task")
    found = [sum(drawn.is_near_tie(DENSE, n, by) for n in range(2000)) for by in (0.01, 0.04)]
    # Two ends between three tokens, each of them half as wide as the rounding to both sides.
    assert found[0] == pytest.approx(2000 * 2 * 0.01, rel=0.4)
    assert found[1] == pytest.approx(4 * found[0], rel=0.4)
