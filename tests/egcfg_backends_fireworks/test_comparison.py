from __future__ import annotations

import pytest

from egcfg_backends_fireworks.comparison import alike, echoes
from egcfg_backends_fireworks.responses import Piece, Row


def row(token: str, *values: float) -> Row:
    """A row whose alternatives are the letters from `token` on, the token the likeliest."""
    letters = [chr(ord(token) + i) for i in range(len(values))]
    pairs = tuple((Piece(text=letter), p) for letter, p in zip(letters, values, strict=True))
    return Row(Piece(text=token), values[0], pairs)


KNOWN = (row("f", -0.2, -2.0, -4.0), row("k", -0.5, -1.5, -3.0))
BEFORE = row("a", -0.1, -3.0, -5.0)
NEW = row("p", -0.3, -2.5, -3.5)


def moved(rows: list[Row], values: list[Row]) -> list[Row]:
    """The tokens of some rows with the values of others."""
    return [
        Row(one.token, other.logprob, other.alternatives)
        for one, other in zip(rows, values, strict=True)
    ]


@pytest.mark.parametrize(
    ("rows", "right"),
    [
        ([*KNOWN, NEW], True),
        ([NEW], False),  # ignored
        ([BEFORE, *KNOWN, NEW], False),  # more than was asked for
        (moved([*KNOWN, NEW], [KNOWN[1], NEW, NEW]), False),  # shifted by one
        (moved([*KNOWN, NEW], [BEFORE, *KNOWN]), False),
        ([BEFORE, BEFORE, NEW], False),
    ],
)
def test_a_right_echo_is_told_from_others(rows: list[Row], right: bool) -> None:
    assert echoes(rows, KNOWN) is right


def test_rounding_is_alike_but_temperature_and_nucleus_are_not() -> None:
    [known, _] = KNOWN
    rounded = row("f", -0.21, -2.05, -4.1)
    hot = row("f", -0.5, -1.4, -2.4)
    cut = row("f", -0.15, -1.9)
    assert alike([rounded], [known])
    for other in (hot, cut, row("g", -0.2, -2.0, -4.0), Row(Piece(text="f"), -0.2)):
        assert not alike([other], [known])
    assert not alike([], [known])
