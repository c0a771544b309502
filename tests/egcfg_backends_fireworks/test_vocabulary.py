from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.errors import BackendError
from egcfg_backends_fireworks.responses import Piece
from egcfg_backends_fireworks.vocabulary import Vocabulary


@given(st.text())
def test_a_prompts_pieces_spell_the_prompt(text: str) -> None:
    vocabulary = Vocabulary()
    ids = vocabulary.encode_prompt(text)
    assert all(token < 0 for token in ids)
    assert vocabulary.split_prompt(ids) == (text, ())


@given(st.lists(st.text(max_size=4)))
def test_interned_texts_decode_to_their_concatenation(texts: list[str]) -> None:
    vocabulary = Vocabulary()
    ids = [vocabulary.intern(Piece(text=text)) for text in texts]
    assert vocabulary.decode([token for token in ids if token is not None]) == "".join(texts)
    assert len(set(ids)) == len(set(texts))


@given(st.lists(st.binary(max_size=4), max_size=8), st.integers(0, 8))
def test_decoding_more_never_changes_what_came_before(parts: list[bytes], cut: int) -> None:
    vocabulary = Vocabulary()
    ids = [
        vocabulary.intern(Piece(data=part, text="?")) for part in "né🦄".encode().split() + parts
    ]
    known = [token for token in ids if token is not None]
    before = vocabulary.decode(known[:cut])
    assert vocabulary.decode(known).startswith(before.rstrip("\N{REPLACEMENT CHARACTER}"))


def test_a_prompt_and_what_was_generated_after_it_are_told_apart() -> None:
    vocabulary = Vocabulary()
    prompt = vocabulary.encode_prompt("def f(")
    token = vocabulary.intern(Piece(text="x"))
    assert token is not None
    assert vocabulary.split_prompt((*prompt, token)) == ("def f(", (token,))


def test_the_number_of_pieces_is_a_fair_estimate_of_a_prompts_length() -> None:
    code = "def is_prime(number):\n    return all(number % d for d in range(2, number))\n" * 20
    pieces = len(Vocabulary().encode_prompt(code))
    assert 2.0 < len(code) / pieces < 4.5  # code tokenizers: three to four characters a token


def test_the_models_own_ids_are_kept() -> None:
    vocabulary = Vocabulary(has_ids=True)
    assert vocabulary.intern(Piece(50256, b"\n", "\n")) == 50256
    assert vocabulary.decode([50256]) == "\n"


def test_a_token_without_the_models_own_id_has_none() -> None:
    vocabulary = Vocabulary(has_ids=True)
    vocabulary.intern(Piece(3, b"x", "x"))
    assert vocabulary.intern(Piece(data=b"x", text="x")) is None


def test_decoding_a_token_that_nobody_spelt_says_so() -> None:
    with pytest.raises(BackendError, match="4711"):
        Vocabulary(has_ids=True).decode([4711])


def test_an_unnamed_end_spells_nothing() -> None:
    for has_ids in (False, True):
        vocabulary = Vocabulary(has_ids=has_ids)
        assert vocabulary.decode([vocabulary.end_token()]) == ""
