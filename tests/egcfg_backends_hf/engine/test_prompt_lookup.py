from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from egcfg_backends_hf.engine.prompt_lookup import LONGEST_GUESS, MATCH, TokenIndex, speculate

ids = st.lists(st.integers(0, 2), max_size=24)


def scan(ids: Sequence[int], length: int) -> tuple[int, ...]:
    """What the index finds, by looking at every place."""
    for start in range(len(ids) - MATCH - 1, -1, -1):
        if len(ids) > MATCH and ids[start : start + MATCH] == ids[-MATCH:]:
            return tuple(ids[start + MATCH : start + MATCH + length])
    return ()


@given(ids, st.lists(st.integers(1, 6), max_size=8), st.integers(1, LONGEST_GUESS))
def test_a_growing_index_finds_what_a_scan_finds(
    ids: list[int], steps: list[int], length: int
) -> None:
    index, end = TokenIndex(), 0
    for step in [*steps, len(ids)]:
        index.extend(ids[end : end + step])
        end = min(len(ids), end + step)
        assert speculate(ids[:end], [index], length) == scan(ids[:end], length)


def test_the_first_index_that_knows_the_run_decides() -> None:
    first, second = TokenIndex((1, 2, 3, 4)), TokenIndex((1, 2, 3, 5, 2, 3, 5, 6, 7, 8, 9))
    assert speculate((9, 1, 2, 3), [first, second], 4) == (4,)
    assert speculate((9, 2, 3, 5), [first, second], 3) == (6, 7, 8)
    assert speculate((9, 2, 3, 5), [first], 3) == ()


def test_no_more_is_guessed_than_fits() -> None:
    index = TokenIndex(range(20))
    assert speculate((1, 2, 3), [index], 99) == (4, 5, 6, 7)
    assert speculate((1, 2, 3), [index], 2) == (4, 5)
    assert speculate((1, 2, 3), [index], 0) == ()
    assert speculate((1, 2, 3), [index], -5) == ()
    assert speculate((2, 3), [index], 4) == ()
