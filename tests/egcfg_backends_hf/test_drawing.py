from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.interfaces.backend import SamplingParams
from egcfg_backends_hf.drawing import draw_token

PROBABILITIES = np.array([0.05, 0.4, 0.1, 0.25, 0.2])


def frequencies(temperature: float, top_p: float, draws: int = 20_000) -> np.ndarray:
    params = SamplingParams(temperature=temperature, top_p=top_p)
    random = np.random.default_rng(0)
    logprobs = np.log(PROBABILITIES).astype(np.float32)
    drawn = [draw_token(logprobs, params, random) for _ in range(draws)]
    return np.bincount(drawn, minlength=5) / draws


def test_tokens_come_as_often_as_they_are_likely() -> None:
    np.testing.assert_allclose(frequencies(1.0, 1.0), PROBABILITIES, atol=0.015)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_sharpens_and_flattens(temperature: float) -> None:
    expected = PROBABILITIES ** (1 / temperature)
    np.testing.assert_allclose(frequencies(temperature, 1.0), expected / expected.sum(), atol=0.015)


@pytest.mark.parametrize(
    ("top_p", "nucleus"), [(0.1, [1]), (0.5, [1, 3]), (0.8, [1, 3, 4]), (0.9, [1, 3, 4, 2])]
)
def test_only_the_nucleus_is_drawn_from(top_p: float, nucleus: list[int]) -> None:
    expected = np.zeros(5)
    expected[nucleus] = PROBABILITIES[nucleus] / PROBABILITIES[nucleus].sum()
    np.testing.assert_allclose(frequencies(1.0, top_p), expected, atol=0.015)


def test_temperature_zero_takes_the_first_of_equally_likely_tokens() -> None:
    random = np.random.default_rng(0)
    state = random.bit_generator.state
    logprobs = np.log(np.array([0.1, 0.4, 0.4, 0.1]))
    assert draw_token(logprobs, SamplingParams(temperature=0.0), random) == 1
    assert random.bit_generator.state == state


@given(
    st.lists(st.floats(-30, 0), min_size=1, max_size=50),
    st.floats(1e-3, 5),
    st.floats(1e-6, 1),
    st.integers(0, 2**32),
)
def test_what_is_drawn_is_always_in_the_nucleus(
    logits: list[float], temperature: float, top_p: float, seed: int
) -> None:
    weights = np.exp(np.array(logits) / temperature - max(logits) / temperature)
    logprobs = np.array(logits) - np.log(np.exp(logits).sum())
    params = SamplingParams(temperature=temperature, top_p=top_p)
    token = draw_token(logprobs, params, np.random.default_rng(seed))
    likelier = weights[weights > weights[token] * (1 + 1e-9)].sum() / weights.sum()
    assert likelier <= top_p + 1e-9
