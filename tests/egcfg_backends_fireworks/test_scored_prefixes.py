from __future__ import annotations

import numpy as np
import pytest

from egcfg.interfaces.backend import Logprobs
from egcfg_backends_fireworks import scored_prefixes
from egcfg_backends_fireworks.scored_prefixes import ScoredPrefixes


def distribution(token: int) -> Logprobs:
    return Logprobs(np.array([-0.1]), np.array([token]))


def test_the_distributions_along_tokens_are_found_again() -> None:
    table = ScoredPrefixes()
    told = [distribution(token) for token in (5, 6, 7)]
    table.remember((1, 2), told, (5, 6))
    assert table.after((1, 2), (5, 6)) == told
    assert table.after((1, 2, 5), ()) == told[1:2]
    assert table.after((1, 2), (6,)) is None
    assert table.tokens_after((1, 2)) == (5, 6)
    assert table.tokens_after((1, 2, 5)) == (6,)
    assert table.tokens_after((9,)) == ()


def test_prompt_pieces_are_told_from_tokens() -> None:
    table = ScoredPrefixes()
    table.remember((-1, 2), [distribution(3)], ())
    assert table.after((-1, 2), ()) is not None
    assert table.after((1, 2), ()) is None
    assert table.after((-1,), (2,)) is None


def test_what_was_told_piece_by_piece_is_known_together() -> None:
    table = ScoredPrefixes()
    table.remember((1, 2), [distribution(3)], ())
    table.remember((1,), [distribution(2), distribution(3)], (2,))
    table.remember((1, 2), [distribution(3), distribution(4)], (3,))
    assert table.tokens_after((1,)) == (2, 3)
    table.remember((1,), [distribution(2)], ())  # says nothing about what follows
    assert table.tokens_after((1,)) == (2, 3)


def test_what_was_told_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scored_prefixes, "REMEMBERED", 8)
    table = ScoredPrefixes()
    for token in range(13):
        table.remember((token,), [distribution(token)], ())
    assert table.after((4,), ()) is None
    assert table.after((5,), ()) is not None
