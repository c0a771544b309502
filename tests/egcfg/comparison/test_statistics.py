from __future__ import annotations

import builtins
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.comparison.statistics import mcnemar, mean_interval, paired_interval
from egcfg.errors import MissingExtraError

VERDICTS = st.lists(st.booleans().map(float), min_size=1, max_size=40)


class TestMcNemar:
    @given(gained=st.integers(0, 60), lost=st.integers(0, 60))
    def test_is_symmetric_and_a_probability(self, gained: int, lost: int) -> None:
        assert mcnemar(gained, lost) == mcnemar(lost, gained)
        assert 0 < mcnemar(gained, lost) <= 1

    @given(gained=st.integers(0, 20), lost=st.integers(0, 20))
    def test_is_the_sum_over_the_tail_of_fair_coins(self, gained: int, lost: int) -> None:
        n = gained + lost
        tail = sum(math.comb(n, k) for k in range(min(gained, lost) + 1))
        assert mcnemar(gained, lost) == pytest.approx(min(1.0, 2 * tail / 2**n))

    def test_of_the_published_sweep(self) -> None:
        """Gamma 0.5 against 0 of the only full sweep that was published."""
        assert mcnemar(21, 43) == pytest.approx(0.008, abs=0.0005)


class TestMeanInterval:
    @given(values=VERDICTS)
    def test_holds_the_mean_and_stays_within_shares(self, values: list[float]) -> None:
        low, high = mean_interval(values)
        assert 0 <= low <= np.mean(values) <= high <= 1

    @given(values=VERDICTS)
    def test_is_the_same_each_time_and_mirrors(self, values: list[float]) -> None:
        low, high = mean_interval(values)
        assert mean_interval(values) == (low, high)
        flipped = mean_interval([1 - value for value in values])
        assert flipped == pytest.approx((1 - high, 1 - low))

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_ten_equal_verdicts_leave_doubt(self, value: float) -> None:
        low, high = mean_interval([value] * 10)
        assert high - low == pytest.approx(0.3085, abs=0.001)

    def test_more_tasks_leave_less(self) -> None:
        few, many = mean_interval([0.0, 1.0] * 10), mean_interval([0.0, 1.0] * 100)
        assert many[1] - many[0] < (few[1] - few[0]) / 2

    def test_of_one_task_says_little(self) -> None:
        assert mean_interval([1.0]) == pytest.approx((0.025, 1.0))
        assert mean_interval([0.5]) == (0.0, 1.0)

    def test_of_a_fraction_of_samples(self) -> None:
        low, high = mean_interval([0.5, 0.25, 1.0, 0.0])
        assert 0 <= low < 0.4375 < high <= 1


class TestPairedInterval:
    @given(pairs=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
    def test_is_mirrored_where_the_arms_change_places(self, pairs: list[tuple[bool, bool]]) -> None:
        one, other = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
        there, back = paired_interval(one, other), paired_interval(other, one)
        assert (there is None) == (back is None)
        if there is not None and back is not None:
            assert there == pytest.approx((-back[1], -back[0]))
            assert there[0] <= np.mean(one) - np.mean(other) <= there[1]

    def test_pairs_tell_more_than_the_two_means_do(self) -> None:
        """The same tasks are hard for both: only what differs is uncertain."""
        one = [1.0] * 50 + [0.0] * 50
        other = [1.0] * 45 + [0.0] * 55
        found = paired_interval(one, other)
        assert found is not None
        alone = mean_interval(one)
        assert found[1] - found[0] < (alone[1] - alone[0]) / 1.5

    def test_covers_the_true_difference(self) -> None:
        random = np.random.default_rng(7)
        truth, covered, rounds = 0.1, 0, 100
        for _ in range(rounds):
            hard = random.random(60)
            one, other = (hard < 0.5).astype(float), (hard < 0.4).astype(float)
            found = paired_interval(list(one), list(other))
            covered += found is not None and found[0] <= truth <= found[1]
        assert covered >= 0.85 * rounds

    def test_of_tasks_that_all_differ_alike_is_none(self) -> None:
        assert paired_interval([1.0, 1.0], [0.0, 0.0]) is None
        assert paired_interval([1.0], [0.0]) is None


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def lacking(name: str, *rest: object) -> object:
        if name.partition(".")[0] == "scipy":
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(MissingExtraError, match=r"pip install 'egcfg\[compare\]'"):
        mcnemar(3, 1)
