from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from egcfg.decoding.branch import MATCH, Lookahead, line_drafts, repeated_run
from egcfg.interfaces.backend import TokenLogprobs


def distribution(number: int) -> TokenLogprobs:
    return TokenLogprobs(np.array([float(number)]))


def text(ids: tuple[int, ...]) -> str:
    return bytes(ids).decode()


def encode(words: str) -> tuple[int, ...]:
    return tuple(words.encode())


def test_what_was_learnt_is_known_from_wherever_the_branch_has_come() -> None:
    ahead = Lookahead()
    known = [distribution(number) for number in range(4)]
    ahead.learn((5, 6, 7), known)
    assert ahead.here is known[0]
    assert ahead.knows((5, 6, 7))
    assert not ahead.knows((5, 8))
    ahead.advance(5)
    assert ahead.here is known[1]
    assert ahead.knows((6, 7))
    ahead.advance(9)
    assert ahead.here is None


def test_distributions_may_begin_further_ahead() -> None:
    ahead = Lookahead()
    ahead.learn((5, 6), [distribution(2)], start=2)
    assert ahead.here is None
    ahead.advance(5)
    ahead.advance(6)
    assert ahead.here is not None


def test_several_drafts_share_what_they_have_in_common() -> None:
    ahead = Lookahead()
    ahead.learn((1, 2), [distribution(n) for n in range(3)])
    ahead.learn((1, 3), [distribution(n) for n in range(3)])
    ahead.advance(1)
    assert ahead.knows((2,))
    assert ahead.knows((3,))
    ahead.forget()
    assert ahead.here is None


def test_drafts_are_the_distinct_first_lines() -> None:
    runs = [encode(t) for t in ("x = 1\ny = 2\n", "x = 1\nz", "x = 10", "x = 1", "")]
    assert [text(draft) for draft in line_drafts(runs, text, 50)] == ["x = 1\n", "x = 10"]
    assert line_drafts(runs, text, 0) == []
    assert [text(draft) for draft in line_drafts(runs, text, 3)] == ["x ="]


def test_what_followed_the_same_tokens_last_is_expected_again() -> None:
    ids = encode("for item in items: for item in rows: for it")
    assert text(repeated_run(ids, 8)) == "em in ro"
    assert repeated_run(encode("abcdefgh"), 4) == ()
    assert repeated_run((1, 2), 4) == ()


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(0, 6))
def test_a_repetition_is_the_latest_one(ids: list[int], length: int) -> None:
    run = repeated_run(ids, length)
    starts = [
        start
        for start in range(MATCH, len(ids))
        if ids[start - MATCH : start] == ids[len(ids) - MATCH :]
    ]
    expected = tuple(ids[starts[-1] :][:length]) if starts else ()
    assert run == expected
