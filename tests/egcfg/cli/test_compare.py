"""`egcfg compare` on results that `egcfg run` wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from egcfg.cli.compare import AXES
from egcfg.comparison.arms import Axis


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results of two methods on three tasks, with a task left to do."""
    for method, solved, tokens in (("best_of_n", {"1", "2"}, 300), ("greedy", {"1"}, 100)):
        folder = tmp_path / "results" / "mbpp-1" / "tiny" / f"method={method}"
        folder.mkdir(parents=True)
        for task in ("1", "2", "3") if method == "best_of_n" else ("1", "2"):
            usage = {
                "input_tokens": tokens,
                "output_tokens": tokens,
                "cached_tokens": 0,
                "requests": 1,
                "forward_passes": 0,
            }
            content = {
                "passed": task in solved,
                "results": {"assert f(1)": {"result": task in solved}},
                "tests_seen": ["assert f(1)"],
                "stats": {"usage": {"sample": usage}},
                "attempts": [{"passed": task in solved, "usage": usage}],
                "problem_sha256": f"of {task}",
            }
            (folder / f"task_id={task}.json").write_text(json.dumps(content))
    return tmp_path / "results"


def test_a_results_folder_is_compared(egcfg: Callable[..., Any], results: Path) -> None:
    ran = egcfg("compare", str(results))
    assert (ran.status, ran.err) == (0, "")
    assert "mbpp-1 · tiny · 3 tasks · tests per task: 1 seen, 1 scored" in ran.out
    assert "Against best_of_n at equal cost" in ran.out
    assert "unfinished: greedy has 2 of 3 tasks" in ran.out
    assert "gained none; lost 2" in ran.out


def test_every_format_a_figure_and_files_to_keep(
    egcfg: Callable[..., Any], results: Path, tmp_path: Path
) -> None:
    kept, figure = tmp_path / "kept", tmp_path / "race.svg"
    ran = egcfg(
        "compare", str(results), "--format", "json", "--plot", str(figure), "--save", str(kept)
    )
    assert ran.status == 0
    assert figure.read_bytes().startswith(b"<?xml")
    assert sorted(path.name for path in kept.iterdir()) == ["best_of_n.jsonl.gz", "greedy.jsonl.gz"]
    again = egcfg("compare", str(kept), "--format", "json")
    assert json.loads(again.out) == json.loads(ran.out)
    assert egcfg("compare", str(kept), "--format", "markdown").out.startswith("mbpp-1 · tiny")
    assert egcfg("compare", str(kept), "--format", "csv").out.startswith("arm,dataset,")


def test_a_figure_that_cannot_be_written_costs_no_table(
    egcfg: Callable[..., Any], results: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    ran = egcfg("compare", str(results), "--plot", str(tmp_path / "file" / "race.svg"))
    assert ran.status == 1
    assert "Against best_of_n" in ran.out
    assert "change its rights or choose another place" in ran.err
    assert "units" not in ran.err


def test_every_axis_can_be_chosen(egcfg: Callable[..., Any], results: Path) -> None:
    assert set(AXES) == {axis.value for axis in Axis}
    for axis in AXES:
        ran = egcfg("compare", str(results), "--axis", axis)
        assert (ran.status, "any passes" in ran.err) == (
            (2, True) if axis == "passes" else (0, False)
        )


def test_arms_and_budgets_are_chosen(egcfg: Callable[..., Any], results: Path) -> None:
    ran = egcfg("compare", str(results), "--arm", "gre*", "--at", "200,400", "--format", "json")
    found = json.loads(ran.out)
    assert [arm["arm"] for arm in found["arms"]] == ["greedy"]
    assert found["budgets"] == [200, 400]
    assert [share["solved"] for share in found["arms"][0]["solved"]] == [1.0, 1.0, 1.0]


def test_common_tasks_alone(egcfg: Callable[..., Any], results: Path) -> None:
    ran = egcfg("compare", str(results), "--common", "--format", "json")
    assert json.loads(ran.out)["tasks"] == ["1", "2"]


def test_what_was_compared_is_kept_and_takes_the_place_of_no_more_tasks(
    egcfg: Callable[..., Any], results: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    assert egcfg("compare", str(results), "--common", "--save", str(kept)).status == 0
    assert "· 2 tasks ·" in egcfg("compare", str(kept)).out
    assert egcfg("compare", str(results), "--save", str(kept)).status == 0
    ran = egcfg("compare", str(results), "--common", "--save", str(kept))
    assert ran.status == 2
    assert "best_of_n.jsonl.gz has 1 tasks that best_of_n now lacks, such as 3; save" in ran.err
    assert "· 3 tasks ·" in egcfg("compare", str(kept)).out


def test_a_gamma_whose_tasks_another_had_solved_is_left_out_and_named(
    egcfg: Callable[..., Any], problems: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "results")
    chosen = ("--dataset", str(problems), "--limit", "1", "--backend", "scripted")
    gammas = ("-g", "0", "-g", "1", "--stop-when-solved")
    assert egcfg("run", *chosen, *gammas, "--results-dir", out).status == 0
    for more in ((), ("--common",)):
        ran = egcfg("compare", out, "--axis", "calls", *more)
        assert (ran.status, ran.err) == (0, "")
        assert "left out: ns3t0.7d2_chat_ln gamma 1: 0 of 1 tasks finished" in ran.out
        assert "gamma 1: 1 tasks left out, which others solved" in ran.out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--plot", "race.png"], 2, "race.png would be SVG; give it a name that ends in .svg"),
        (["--at", "0"], 2, "such as 1000,2000"),
        (["--at", "many"], 2, "such as 1000,2000"),
        (["--baseline", "best"], 0, ""),
        (["--baseline", "gredy"], 2, "did you mean 'greedy'"),
        (
            ["--baseline", "greedy", "--arm", "best*"],
            2,
            "of the arms that --arm chooses; add --arm",
        ),
        (["--arm", "nothing"], 2, "no arm named 'nothing'"),
        (["nowhere"], 1, "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_done_is_said(
    egcfg: Callable[..., Any], results: Path, arguments: list[str], status: int, words: str
) -> None:
    ran = egcfg("compare", str(results), *arguments)
    assert ran.status == status
    assert words in ran.err


def test_two_models_are_refused_unless_that_is_wanted(
    egcfg: Callable[..., Any], results: Path
) -> None:
    (results / "mbpp-1" / "huge").mkdir()
    (results / "mbpp-1" / "tiny" / "method=greedy").rename(
        results / "mbpp-1" / "huge" / "method=greedy"
    )
    ran = egcfg("compare", str(results))
    assert (ran.status, ran.out) == (2, "")
    assert "model: huge (greedy), tiny (best_of_n)" in ran.err
    assert egcfg("compare", str(results), "--allow-mixed").status == 0


def test_names_from_files_cannot_drive_a_terminal(egcfg: Callable[..., Any], results: Path) -> None:
    folder = results / "mbpp-1" / "tiny" / "method=greedy"
    folder.rename(folder.with_name("method=\x1b[31m\ngreedy"))
    for form in ("text", "markdown", "json", "csv"):
        ran = egcfg("compare", str(results), "--format", form)
        assert ran.status == 0
        assert "\x1b" not in ran.out
