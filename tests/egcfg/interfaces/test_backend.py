"""Distributions: their likeliest tokens, dense or cut, of whichever array library."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.interfaces.backend import Logprobs

values = st.lists(
    st.sampled_from([-np.inf, -9.0, -2.0, -1.5, -0.5]), min_size=1, max_size=9
).filter(lambda found: max(found) > -np.inf)


def sorted_top(found: list[float], count: int) -> list[tuple[int, float]]:
    ordered = sorted(enumerate(found), key=lambda each: (-each[1], each[0]))
    return [(token, value) for token, value in ordered if value > -np.inf][:count]


@given(found=values, count=st.integers(0, 10))
def test_the_likeliest_tokens_are_those_of_a_stable_sort(found: list[float], count: int) -> None:
    expected = sorted_top(found, count)
    assert Logprobs(np.array(found, np.float32)).top(count) == expected
    order = np.argsort(-np.array(found), kind="stable")
    cut = Logprobs(np.array(found)[order], order + 7)
    assert cut.top(count) == [(token + 7, value) for token, value in expected]


@given(found=values, count=st.integers(0, 10))
def test_tensors_are_sorted_as_arrays_are(found: list[float], count: int) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(found, dtype=torch.float64)
    assert Logprobs(tensor).top(count) == sorted_top(found, count)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_first_of_them_is_the_argmax(library: str) -> None:
    distribution = Logprobs(pytest.importorskip(library).asarray([-3.0, -1.0, -1.0, -2.0]))
    assert distribution.top(1)[0][0] == distribution.argmax() == 1
    assert distribution.top(9)[-1] == (0, -3.0)
