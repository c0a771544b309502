from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.decoding.sampling import sample_token
from egcfg.interfaces.backend import Logprobs, SampleRequest, SamplingParams
from egcfg_backends_hf.engine.prompt_lookup import TokenIndex
from egcfg_backends_hf.engine.sampling import SamplingState

PROBABILITIES = np.array([0.05, 0.4, 0.1, 0.25, 0.2])
END = 3


def state(
    params: SamplingParams, limit: int = 1, ids: tuple[int, ...] = (0,), number: int = 0
) -> SamplingState:
    request = SampleRequest(ids, 1, params)
    return SamplingState(request, number, limit, frozenset({END}), decode, [TokenIndex(range(9))])


def decode(ids: Sequence[int]) -> str:
    return "".join("ab\nd"[token] for token in ids)


def certain(token: int) -> Logprobs:
    """A distribution from which only `token` can be sampled."""
    return Logprobs(np.where(np.arange(9) == token, 0.0, -np.inf))


# --- the sampler --------------------------------------------------------------------------------


def frequencies(temperature: float, top_p: float, count: int = 20_000) -> np.ndarray:
    random = np.random.default_rng(0).random
    logprobs = Logprobs(np.log(PROBABILITIES).astype(np.float32))
    sampled = [sample_token(logprobs, temperature, top_p, random) for _ in range(count)]
    return np.bincount(sampled, minlength=5) / count


def test_tokens_come_as_often_as_they_are_likely() -> None:
    np.testing.assert_allclose(frequencies(1.0, 1.0), PROBABILITIES, atol=0.015)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_sharpens_and_flattens(temperature: float) -> None:
    expected = PROBABILITIES ** (1 / temperature)
    np.testing.assert_allclose(frequencies(temperature, 1.0), expected / expected.sum(), atol=0.015)


@pytest.mark.parametrize(
    ("top_p", "nucleus"), [(0.1, [1]), (0.5, [1, 3]), (0.8, [1, 3, 4]), (0.9, [1, 3, 4, 2])]
)
def test_only_the_nucleus_is_sampled_from(top_p: float, nucleus: list[int]) -> None:
    expected = np.zeros(5)
    expected[nucleus] = PROBABILITIES[nucleus] / PROBABILITIES[nucleus].sum()
    np.testing.assert_allclose(frequencies(1.0, top_p), expected, atol=0.015)


def test_temperature_zero_takes_the_first_of_equally_likely_tokens() -> None:
    random = np.random.default_rng(0)
    before = random.bit_generator.state
    logprobs = Logprobs(np.log(np.array([0.1, 0.4, 0.4, 0.1])))
    assert sample_token(logprobs, 0.0, 0.95, random.random) == 1
    assert random.bit_generator.state == before


@given(
    st.lists(st.floats(-30, 0), min_size=1, max_size=50),
    st.floats(1e-3, 5),
    st.floats(1e-6, 1),
    st.integers(0, 2**32),
)
def test_what_is_sampled_is_always_in_the_nucleus(
    logits: list[float], temperature: float, top_p: float, seed: int
) -> None:
    weights = np.exp(np.array(logits) / temperature - max(logits) / temperature)
    logprobs = Logprobs(np.array(logits) - np.log(np.exp(logits).sum()))
    token = sample_token(logprobs, temperature, top_p, np.random.default_rng(seed).random)
    likelier = weights[weights > weights[token] * (1 + 1e-9)].sum() / weights.sum()
    assert likelier <= top_p + 1e-9


# --- a continuation -----------------------------------------------------------------------------


@given(st.floats(0.1, 2), st.floats(0.1, 1), st.integers(0, 99), st.integers(0, 3))
def test_its_random_numbers_are_those_of_its_seed_and_number(
    temperature: float, top_p: float, seed: int, number: int
) -> None:
    params = SamplingParams(temperature=temperature, top_p=top_p, max_tokens=6, seed=seed)
    distribution = Logprobs(np.log([0.5, 0.3, 0.2]))
    sampling = state(params, limit=6, number=number)
    while not sampling.done:
        sampling.extend((), sampling.chosen([distribution]))
    random = np.random.default_rng([seed, number]).random
    expected = [sample_token(distribution, temperature, top_p, random) for _ in range(6)]
    assert list(sampling.continuation().ids) == expected


def test_an_accepted_draft_is_sampled_at_once_and_a_wrong_one_stops_it() -> None:
    params = SamplingParams(temperature=0.0)
    sampling = state(params, limit=9)
    sampling.extend((1, 0, 1), sampling.chosen([certain(1), certain(0), certain(0), certain(1)]))
    assert (sampling.ids, sampling.sampled) == ((1, 0, 0), 3)
    sampling.extend((1,), sampling.chosen([certain(1), certain(END)]))
    assert (sampling.done, sampling.sampled) == (True, 5)
    assert sampling.continuation().finished
    assert sampling.continuation().text == "baab"


def test_its_own_tokens_are_looked_up_first_and_never_beyond_its_limit() -> None:
    params = SamplingParams(temperature=0.0)
    sampling = state(params, limit=20, ids=(1, 2, 3, 8, 7, 6, 1, 2, 3))
    request = sampling.next_request()
    assert request.ids == (1, 2, 3, 8, 7, 6, 1, 2, 3)
    assert request.draft == (8, 7, 6, 1)  # not 4, as elsewhere
    assert state(params, limit=20, ids=(1, 2, 3)).next_request().draft == (4, 5, 6, 7)
    assert state(params, limit=3, ids=(1, 2, 3)).next_request().draft == (4, 5)
    assert state(params, limit=1, ids=(1, 2, 3)).next_request().draft == ()


@pytest.mark.parametrize(
    ("params", "ids"),
    [
        (SamplingParams(temperature=0.0, max_lines=2), (0, 2, 1, 2)),
        (SamplingParams(temperature=0.0, stop=("x", "b\n")), (0, 2, 1, 2)),
        (SamplingParams(temperature=0.0), (0, 2, 1, 2, 0)),
    ],
)
def test_it_ends_with_its_lines_a_stop_text_or_its_limit(
    params: SamplingParams, ids: tuple[int, ...]
) -> None:
    sampling = state(params, limit=5)
    for token in (0, 2, 1, 2, 0):
        if not sampling.done:
            sampling.extend((), sampling.chosen([certain(token)]))
    assert sampling.ids == ids
    assert sampling.done
    assert not sampling.continuation().finished
