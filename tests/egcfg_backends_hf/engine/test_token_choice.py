from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from egcfg.decoding.sampling import sample_token
from egcfg.interfaces.backend import Logprobs
from egcfg_backends_hf.engine import token_choice
from egcfg_backends_hf.engine.token_choice import UNDECIDED, Choice, choose_tokens

choices = st.builds(
    Choice,
    temperature=st.sampled_from([0.0, 0.3, 0.7, 1.0, 2.0]),
    top_p=st.sampled_from([0.01, 0.5, 0.95, 1.0]),
    number=st.floats(0, 1, exclude_max=True),
)


@given(
    st.lists(choices, min_size=1, max_size=6),
    st.integers(0, 2**32 - 1),
    st.integers(1, 50),
    st.sampled_from([0.0, 1.0, 6.0]),
)
def test_tokens_are_those_that_are_chosen_one_by_one(
    asked: list[Choice], seed: int, vocabulary: int, spread: float
) -> None:
    logits = np.random.default_rng(seed).normal(size=(len(asked), vocabulary)) * spread
    rows = torch.log_softmax(torch.from_numpy(logits), dim=1)
    expected = [
        sample_token(Logprobs(row.numpy()), each.temperature, each.top_p, lambda: each.number)  # noqa: B023
        for row, each in zip(rows, asked, strict=True)
    ]
    assert choose_tokens(rows, asked).tolist() == expected


def test_a_nucleus_larger_than_what_is_sorted_is_left_undecided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(token_choice, "LIKELIEST", 4)
    rows = torch.log_softmax(torch.stack([torch.arange(20.0) * 9, torch.zeros(20)]), dim=1)
    asked = [Choice(1.0, 0.9, 0.5)] * 2
    assert choose_tokens(rows, asked).tolist() == [19, UNDECIDED]
    assert choose_tokens(rows, asked, whole=True).tolist() == [19, 9]
