"""Published figures: all of them with their protocols, and by data set, model and method."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import registry


def figures(egcfg: Callable[..., Any], *arguments: str) -> list[dict[str, Any]]:
    ran = egcfg("published", *arguments, "--format", "json")
    assert (ran.status, ran.err) == (0, "")
    found: list[dict[str, Any]] = json.loads(ran.out)
    return found


def test_a_table_tells_the_protocol_beside_each_figure(egcfg: Callable[..., Any]) -> None:
    ran = egcfg("published", "--dataset", "mbpp", "--model", "v3")

    assert (ran.status, ran.err) == (0, "")
    lines = [line for line in ran.out.splitlines() if line.startswith("mapcoder")]
    assert len(lines) == 1
    assert "87.2" in lines[0]
    assert "397" in lines[0]
    assert "union" in next(line for line in ran.out.splitlines() if line.startswith("egcfg_grid"))
    assert "mbpp · DeepSeek-V3-0324\n" in ran.out
    assert "arXiv:2506.10948" in ran.out
    assert "DeepSeek-Coder-1.3B" not in ran.out
    assert "humaneval" not in ran.out


def test_every_figure_has_a_source_and_names_what_is_known_here(
    egcfg: Callable[..., Any],
) -> None:
    every = figures(egcfg)
    assert {each["dataset"] for each in every} <= {*registry().components(Kind.DATASET)}
    assert {each["method"] for each in every} <= {*registry().components(Kind.METHOD)}
    assert all(0 < each["accuracy"] < 100 and each["tasks"] > 0 for each in every)
    assert all(each["source"] for each in every)
    # Whoever sees the scoring tests stops at them, so that several answers are tried.
    unions = {each["method"] for each in every if each["number"] == "union"}
    assert unions == {"egcfg_grid"}


def test_figures_are_chosen_by_data_set_model_and_method(egcfg: Callable[..., Any]) -> None:
    chosen = figures(egcfg, "--dataset", "humaneval", "--method", "lpw", "--model", "deepseek")
    assert [each["accuracy"] for each in chosen] == [95.12]
    sweep = figures(egcfg, "--method", "egcfg")
    assert [each["gamma"] for each in sweep] == [0, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9]
    assert sweep[0]["accuracy"] > sweep[-1]["accuracy"]


def test_csv_has_a_line_for_each_figure(egcfg: Callable[..., Any]) -> None:
    ran = egcfg("published", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert [float(row["accuracy"]) for row in rows] == [e["accuracy"] for e in figures(egcfg)]
    assert rows[0]["number"] == "single run"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--dataset", "mbp"), "--dataset: no figures of 'mbp'; did you mean 'mbpp'?"),
        (("--method", "map"), "--method: no figures of 'map'; choose from: egcfg, "),
        (("--model", "gpt-9"), "nothing was published for all of that; models with figures: Deep"),
    ],
)
def test_what_has_no_figures_is_told(
    egcfg: Callable[..., Any], arguments: tuple[str, ...], said: str
) -> None:
    ran = egcfg("published", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1
