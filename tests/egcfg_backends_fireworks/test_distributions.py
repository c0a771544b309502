from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.errors import BackendError
from egcfg_backends_fireworks.distributions import RowReader, check_row, check_rows
from egcfg_backends_fireworks.responses import Choice, MalformedResponseError, Piece, Row
from egcfg_backends_fireworks.vocabulary import Vocabulary

LOST = "\N{REPLACEMENT CHARACTER}"


def reader(top_k: int = 5, *, has_ids: bool = False) -> RowReader:
    return RowReader(Vocabulary(has_ids=has_ids), top_k)


def row(token: Piece, *alternatives: tuple[Piece, float]) -> Row:
    return Row(token, -1.0, alternatives or ((token, -1.0),))


@given(st.dictionaries(st.text(max_size=3), st.floats(-20, 0), min_size=1), st.integers(1, 6))
def test_a_distribution_is_sorted_cut_and_without_repeats(
    table: dict[str, float], top_k: int
) -> None:
    ordered = sorted(table.items(), key=lambda item: -item[1])
    pieces = tuple((Piece(text=text), logprob) for text, logprob in ordered)
    distribution = reader(top_k).distribution(Row(pieces[0][0], None, pieces))
    assert distribution.ids is not None
    assert len(distribution.ids) == len(set(distribution.ids.tolist())) == min(top_k, len(table))
    assert np.all(np.diff(distribution.values) <= 0)
    assert distribution.values[0] == max(table.values())


def test_an_alternative_that_cannot_be_named_is_left_out() -> None:
    reading = reader(has_ids=True)
    known, unknown = Piece(7, b"a", "a"), Piece(text="b")
    distribution = reading.distribution(row(known, (known, -0.1), (unknown, -2.0)))
    assert distribution.ids is not None
    assert distribution.ids.tolist() == [7]
    with pytest.raises(BackendError, match="none of its tokens"):
        reading.distribution(row(unknown))


def test_a_row_that_merges_the_tokens_of_a_character_has_no_token() -> None:
    reading = reader(has_ids=True)
    last = Piece(227, b"\x89", LOST)
    merged = Piece(227, "🎉".encode(), "🎉")
    assert reading.token(row(merged, (last, -0.3))) is None
    assert reading.token(row(merged, (Piece(5, b"x", "x"), -0.3))) is None  # not listed
    whole = Piece(900, "é".encode(), "é")
    assert reading.token(row(whole, (whole, -0.3))) == 900


@pytest.mark.parametrize("spelling", ["", "</s>", "<|im_end|>", "<|endoftext|>"])
def test_widespread_ends_are_known_at_sight(spelling: str) -> None:
    reading = reader()
    end = Piece(text=spelling)
    distribution = reading.distribution(row(Piece(text="a"), (Piece(text="a"), -0.1), (end, -3.0)))
    assert distribution.ids is not None
    assert reading.end_ids == {int(distribution.ids[1])}


def test_an_unusual_end_is_known_by_its_place() -> None:
    reading = reader()
    a, end = Piece(text="a"), Piece(text="<fin>")
    reading.note_end(Choice(text="a", rows=(row(a), row(end)), finish="length"))
    reading.note_end(Choice(text="a<fin>", rows=(row(a), row(end)), finish="stop"))
    assert not reading.end_ids
    reading.note_end(Choice(text="a", rows=(row(a), row(end)), finish="stop"))
    assert reading.end_ids == {reading.vocabulary.intern(end)}


def test_rows_tell_distributions_up_to_one_that_stands_for_several_tokens() -> None:
    reading = reader(has_ids=True)
    a, b, end = Piece(7, b"a", "a"), Piece(8, b"b", "b"), Piece(9, b"</s>", "</s>")
    merged = row(Piece(227, "🎉".encode(), "🎉"), (Piece(227, b"\x89", LOST), -0.3))
    for rows, known, tokens in (
        ([row(a), row(b), row(a)], 3, [7, 8]),
        ([row(a), merged, row(a)], 1, []),
        ([row(a), row(end), row(b)], 2, [7]),  # what comes after the end is another text's
        ([merged], 0, []),
        ([], 0, []),
    ):
        distributions, along = reading.along(rows)
        assert (len(distributions), along) == (known, tokens)


def test_a_hidden_end_takes_the_whole_mass() -> None:
    for has_ids in (False, True):
        reading = reader(has_ids=has_ids)
        distribution = reading.hidden_end()
        assert distribution.argmax() in reading.end_ids
        assert np.isfinite(distribution.tail_bound)
        assert reading.vocabulary.decode([distribution.argmax()]) == ""


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("ab", ["a", "b"]),
        ("ab", ["a", "b", "</s>"]),
        ("a" + LOST, ["a"]),
        ("é", [LOST, LOST]),
        ("a", [" a"]),
        ("", []),
    ],
)
def test_rows_that_account_for_the_text_are_good(text: str, tokens: list[str]) -> None:
    check_rows(Choice(text=text, rows=tuple(row(Piece(text=token)) for token in tokens)), 1)


@pytest.mark.parametrize(("text", "tokens"), [("ab", ["a"]), ("ab", []), ("ab", ["a", "c"])])
def test_rows_that_do_not_are_malformed(text: str, tokens: list[str]) -> None:
    rows = tuple(row(Piece(text=token)) for token in tokens)
    with pytest.raises(MalformedResponseError):
        check_rows(Choice(text=text, rows=rows), 1)


def test_a_row_without_alternatives_is_malformed() -> None:
    with pytest.raises(MalformedResponseError, match="alternatives"):
        check_rows(Choice(text="a", rows=(Row(Piece(text="a"), -1.0),)), 1)


def listing(token: int | None, logprob: float, *values: float) -> Row:
    """A row whose alternatives are tokens 0, 1, ..., named by id or by text."""
    named = [Piece(i, b"%d" % i) if token is not None else Piece(text=str(i)) for i in range(9)]
    chosen = Piece(token, b"%d" % token) if token is not None else named[0]
    return Row(chosen, logprob, tuple(zip(named, values, strict=False)))


@pytest.mark.parametrize(
    "good",
    [
        listing(0, -0.7, -0.7, -1.5, -3.0),
        listing(2, -3.1, -0.7, -1.5, -3.0),  # computed apart
        listing(7, -3.5, -0.7, -1.5, -3.0),  # unlikely, so not listed
        listing(0, -1e-5, -1e-5),  # nothing else is possible
        listing(None, -0.7, -0.7, -1.5),  # two tokens spelt alike
    ],
)
def test_a_row_may_list_what_is_possible(good: Row) -> None:
    check_row(good, 3)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (listing(0, -0.7, -0.7, -1.5), "2 alternatives instead of 3"),
        (listing(None, -0.7), "without|1 alternatives"),
        (listing(1, -0.7, -0.7, -1.5, -3.0), "another token"),
        (listing(7, -0.7, -0.7, -1.5, -3.0), "another token"),
    ],
)
def test_a_row_that_is_short_or_another_tokens_is_malformed(bad: Row, reason: str) -> None:
    with pytest.raises(MalformedResponseError, match=reason):
        check_row(bad, 3 if bad.token.id is not None else 5)


def test_alternatives_without_ids_are_not_compared_with_a_tokens_id() -> None:
    check_row(Row(Piece(4, None, "a"), -0.7, ((Piece(text="a"), -0.7), (Piece(text="b"), -2.0))), 2)
