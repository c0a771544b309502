"""Rows chosen, sorted and united."""

from __future__ import annotations

from typing import Any

import pytest

from egcfg.reports.aggregate import Report, aggregate
from egcfg.reports.rows import ResultRow
from egcfg.reports.selection import By, Order, grouped, ordered, select

OTHER = "ns3t1.2d2_ln"


@pytest.fixture
def reports(make_record: Any) -> list[Report]:
    """Two configurations at two gammas, of which each solves another half; and another model."""
    records = [
        make_record(str(task), gamma, (task + gamma + (config == OTHER)) % 4 < 2, config=config)
        for config in ("ns2t0.75d2_ln", OTHER)
        for gamma in (0.0, 2.0)
        for task in range(4)
    ]
    records += [make_record("0", 0.0, model="org_other"), make_record("9", -0.1, model="org_other")]
    return aggregate([ResultRow.of(record) for record in records])


def test_models_are_chosen_by_a_part_of_their_name_or_a_pattern(reports: list[Report]) -> None:
    for wanted, found in (
        ("tiny", ["org_tiny"]),
        ("ORG", ["org_other", "org_tiny"]),
        ("org_*y", ["org_tiny"]),
        ("none", []),
    ):
        assert [report.model for report in select(reports, wanted)] == found


def test_a_selection_of_gammas_makes_no_part_a_whole(reports: list[Report]) -> None:
    other, tiny = select(reports, gammas=[0.0])
    assert {row.gamma for row in (*other.rows, *tiny.rows)} == {0.0}
    assert [row.accuracy for row in other.rows] == [None]  # one of two tasks
    assert (other.union.solved, other.union.share) == (1, None)
    assert [row.accuracy for row in tiny.rows] == [50, 50]
    assert (tiny.union.solved, tiny.union.share) == (3, 75)
    [negative] = select(reports, gammas=[-0.1])
    assert [row.gamma for row in negative.rows] == [-0.1]


def test_a_configuration_with_all_its_gammas_is_the_papers_unit(reports: list[Report]) -> None:
    [_, grouping] = grouped(reports, By.CONFIG)
    assert [(g.name, len(g.union.rows), g.union.solved) for g in grouping.groups] == [
        ("ns2t0.75d2_ln", 2, 4),
        (OTHER, 2, 4),
    ]
    assert [g.union.best.accuracy for g in grouping.groups if g.union.best] == [50, 50]
    assert grouping.groups[0].union.cost.output_tokens == 800


@pytest.mark.parametrize(
    ("by", "names"),
    [
        (By.GAMMA, [["-0.1", "0"], ["0", "2"]]),
        (By.METHOD, [["egcfg"], ["egcfg"]]),
        (By.MODEL, [["org_other", "org_tiny"]]),
    ],
)
def test_rows_are_united_by_what_they_have_in_common(
    reports: list[Report], by: By, names: list[list[str]]
) -> None:
    found = grouped(reports, by)
    assert [sorted(group.name for group in each.groups) for each in found] == names


def test_rows_are_sorted_with_the_unknown_last(reports: list[Report]) -> None:
    rows = [row for report in reports for row in report.rows]
    accuracies = [row.accuracy for row in ordered(rows, Order.ACCURACY)]
    assert accuracies == [50, 50, 50, 50, None, None]
    assert [row.gamma for row in ordered(rows, Order.GAMMA)] == [-0.1, 0, 0, 0, 2, 2]
    assert [row.config for row in ordered(rows, Order.NAME)][-1] == OTHER
    tokens = [row.cost.output_tokens for row in ordered(rows, Order.TOKENS)]
    assert tokens == sorted(tokens, reverse=True)
    assert ordered(rows) == tuple(rows)
    assert len(ordered(rows, top=3)) == 3
    assert all(row.accuracy == 50 for row in ordered(rows, top=4))
    for order in Order:
        [grouping, *_] = grouped(reports, By.CONFIG)
        assert len(ordered(grouping.groups, order)) == 1
        assert len(ordered(rows, order)) == 6
