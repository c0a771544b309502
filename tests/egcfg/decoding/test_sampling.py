from __future__ import annotations

import numpy as np
import pytest

from egcfg.decoding.sampling import TokenChooser
from egcfg.interfaces.backend import TokenLogprobs

SHARES = np.array([0.5, 0.3, 0.2])
DENSE = TokenLogprobs(np.log(SHARES))
CUT = TokenLogprobs(np.log(SHARES), np.array([7, 3, 9]))


def test_without_a_temperature_the_likeliest_token_is_taken() -> None:
    assert TokenChooser(0.0, 1, "t").choose(DENSE, 4) == 0
    assert TokenChooser(0.0, 1, "t").choose(CUT, 4) == 7


def test_a_draw_depends_on_seed_task_and_position_only() -> None:
    def draws(seed: int = 0, task: str = "t") -> list[int]:
        return [TokenChooser(1.0, seed, task).choose(DENSE, position) for position in range(40)]

    assert draws() == draws()
    assert draws() != draws(seed=1)
    assert draws() != draws(task="u")


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_tempered_distribution(temperature: float) -> None:
    chooser = TokenChooser(temperature, 3, "t")
    drawn = np.bincount([chooser.choose(DENSE, position) for position in range(4000)])
    expected = SHARES ** (1 / temperature) / (SHARES ** (1 / temperature)).sum()
    np.testing.assert_allclose(drawn / 4000, expected, atol=0.03)
    listed = {chooser.choose(CUT, position) for position in range(60)}
    assert listed == {7, 3, 9}
