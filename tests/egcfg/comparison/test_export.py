from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree

import pytest

from egcfg.comparison.arms import Arm, Outcome
from egcfg.comparison.comparison import compare
from egcfg.comparison.export import as_csv, as_json
from egcfg.comparison.plot import as_svg


def test_json_has_everything(race: list[Arm]) -> None:
    found = json.loads(as_json(compare(race, budgets=[500])))
    assert (found["axis"], found["budgets"]) == ("tokens", [500])
    best_of_n = found["arms"][1]
    assert best_of_n["arm"] == "best_of_n"
    assert [share["solved"] for share in best_of_n["solved"]] == [1, 3]
    assert best_of_n["curve"] == [[200, 1.0], [600, 2.0], [900, 2.0], [1800, 3.0]]
    assert best_of_n["solved_tasks"] == ["1", "2", "4"]
    assert best_of_n["mean"]["output"] == pytest.approx(437.5)
    assert best_of_n["tests"]["seen"] == [1, 1]
    [end] = [d for d in found["against"] if d["label"] == "egcfg" and d["budget"] is None]
    assert (end["gained"], end["lost"]) == (["3"], ["1", "4"])


def test_the_tests_that_scored_are_told_where_those_seen_are_not_known() -> None:
    samples = Arm(label="v3", outcomes={"1": Outcome(task_id="1", rate=1.0, scored=3)})
    [arm] = json.loads(as_json(compare([samples])))["arms"]
    assert arm["tests"] == {"seen": None, "scored": [3, 3], "both": None, "unknown": 1}


def test_csv_has_a_line_per_arm_budget_and_baseline(race: list[Arm]) -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(compare(race, budgets=[500, 1000])))))
    assert [(line["arm"], line["budget"]) for line in lines] == [
        (arm, budget) for arm in ("greedy", "best_of_n", "egcfg") for budget in ("500", "1000", "")
    ]
    [line] = [line for line in lines if (line["arm"], line["budget"]) == ("egcfg", "1000")]
    assert (line["solved"], line["gained"], line["lost"], line["p"]) == ("2.0", "1", "1", "1.0")
    two = as_csv(compare(race, budgets=[500], baselines=["greedy", "best_of_n"]))
    assert len(list(csv.DictReader(io.StringIO(two)))) == 2 + 2 + 4


def test_the_figure_is_the_same_each_time_and_names_every_arm(race: list[Arm]) -> None:
    samples = Arm(label="other $x$", outcomes={"1": Outcome(task_id="1", rate=1.0)})
    comparison = compare([*race, samples])
    svg = as_svg(comparison)
    assert svg == as_svg(comparison)
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    for label in ("greedy", "best_of_n", "egcfg", "other"):
        assert f"<!-- {label}".encode() in svg


def test_a_figure_has_dotted_lines_of_arms_whose_costs_are_not_known(race: list[Arm]) -> None:
    samples = Arm(label="other", outcomes={"1": Outcome(task_id="1", rate=1.0)})
    for arms in ([samples], [*race, samples]):
        svg = as_svg(compare(arms))
        assert b"<!-- other (cost not known) -->" in svg or b"<!-- other (1 of 4 tasks) (" in svg
        assert b"stroke-dasharray" in svg
    assert b"stroke-dasharray" not in as_svg(compare(race))
    unanswered = Arm(label="other", outcomes={"1": Outcome(task_id="1")})
    assert b"cost not known" not in as_svg(compare([*race, unanswered]))
