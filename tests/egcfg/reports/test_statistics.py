"""Expected unions, gains and losses."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from egcfg.reports.aggregate import Row, aggregate, base_of
from egcfg.reports.rows import ResultRow
from egcfg.reports.statistics import changes, expected_unions


def row(gamma: float, *verdicts: bool, config: str = "ns2t0.75d2_ln") -> Row:
    named = {str(number): passed for number, passed in enumerate(verdicts)}
    return Row(config=config, gamma=gamma, method="egcfg", tasks=len(verdicts), verdicts=named)


@given(
    st.integers(1, 4).flatmap(
        lambda tasks: st.lists(
            st.lists(st.booleans(), min_size=tasks, max_size=tasks), min_size=1, max_size=4
        )
    )
)
def test_the_expected_union_is_the_mean_over_all_orderings(verdicts: list[list[bool]]) -> None:
    rows = [row(number, *of_row) for number, of_row in enumerate(verdicts)]
    common, unions = expected_unions(rows)
    assert common == len(verdicts[0])
    orders = list(itertools.permutations(verdicts))
    for k, share in enumerate(unions, start=1):
        means = [sum(map(any, zip(*order[:k], strict=True))) / common for order in orders]
        assert share == pytest.approx(sum(means) / len(means))


def test_a_union_is_of_the_tasks_that_all_rows_have() -> None:
    assert expected_unions([row(0, True, False), row(1, False)]) == (1, [0.5, 1.0])
    assert expected_unions([row(0), row(1, True)]) == (0, [])
    assert expected_unions([]) == (0, [])


def test_gains_and_losses_are_told_by_task() -> None:
    found = changes({"0": 1, "1": 0, "2": 1, "3": 1}, {"0": 0, "1": 1, "2": 1})
    assert (found.gained, found.lost, found.common) == (("0",), ("1",), 3)


def test_what_a_row_is_compared_with() -> None:
    base, guided = row(0, True), row(1, True)
    other = row(1, True, config="ns5t1.2d3_ln")
    prompt = row(1, True, config="ns2t0.75d2_lci_ln")
    assert base_of(guided, [guided, base]) is base
    assert base_of(other, [other, base]) is base
    assert base_of(prompt, [prompt, base]) is None
    assert base_of(base, [base]) is None
    assert base_of(guided, [guided, evolve(base, tasks=2)]) is None


def test_the_rows_of_a_report_are_compared_as_their_rsr_is(mixed: Any) -> None:
    [report] = aggregate(map(ResultRow.of, mixed))
    for each in report.rows:
        base = base_of(each, report.rows)
        if base is None or not changes(each.verdicts, base.verdicts).common:
            assert each.rsr is None
