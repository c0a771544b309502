from __future__ import annotations

import numpy as np

from egcfg.interfaces.backend import TokenLogprobs
from egcfg_backends_fireworks.lookahead import REMEMBERED, Lookahead


def distribution(token: int) -> TokenLogprobs:
    return TokenLogprobs(np.array([-0.1]), np.array([token]))


def test_the_distributions_on_a_way_are_found_again() -> None:
    ahead = Lookahead()
    told = [distribution(token) for token in (5, 6, 7)]
    ahead.remember((1, 2), told, (5, 6))
    assert ahead.along((1, 2), (5, 6)) == told
    assert ahead.along((1, 2, 5), ()) == told[1:2]
    assert ahead.along((1, 2), (6,)) is None
    assert ahead.way((1, 2)) == (5, 6)
    assert ahead.way((1, 2, 5)) == (6,)
    assert ahead.way((9,)) == ()


def test_ways_that_join_become_one() -> None:
    ahead = Lookahead()
    ahead.remember((1, 2), [distribution(3)], ())
    ahead.remember((1,), [distribution(2), distribution(3)], (2,))
    ahead.remember((1, 2), [distribution(3), distribution(4)], (3,))
    assert ahead.way((1,)) == (2, 3)


def test_what_was_not_needed_for_long_is_forgotten() -> None:
    ahead = Lookahead()
    for token in range(REMEMBERED + 5):
        ahead.remember((token,), [distribution(token)], ())
    assert ahead.along((4,), ()) is None
    assert ahead.along((5,), ()) is not None
