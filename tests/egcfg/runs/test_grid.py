import attrs
import pytest

from egcfg.errors import ConfigError
from egcfg.interfaces.problem import AssertTest, Problem, StdioTest
from egcfg.runs.config_string import SignalConfig
from egcfg.runs.grid import Grid, problem_sha256

PLAIN = SignalConfig.parse("ns2t0.75d2_ln")
HOTTER = SignalConfig.parse("ns2t1.2d2_ln")
LONG = SignalConfig.parse("ns2t0.75d2_lci_ln")


def names(grid):
    return [(unit.problem.task_id, str(unit.config), unit.gamma) for unit in grid]


def test_units_go_task_by_task_and_gamma_0_once_per_prompt(make_problem):
    grid = Grid(
        problems=[make_problem("1"), make_problem("2")],
        configs=[PLAIN, HOTTER, LONG, PLAIN],
        gammas=[0, 1, 3, 1.0],
    )
    of_a_task = [
        ("ns2t0.75d2_ln", 0.0),
        ("ns2t0.75d2_ln", 1.0),
        ("ns2t0.75d2_ln", 3.0),
        ("ns2t1.2d2_ln", 1.0),
        ("ns2t1.2d2_ln", 3.0),
        ("ns2t0.75d2_lci_ln", 0.0),
        ("ns2t0.75d2_lci_ln", 1.0),
        ("ns2t0.75d2_lci_ln", 3.0),
    ]
    assert names(grid) == [(task, *unit) for task in "12" for unit in of_a_task]
    assert len(grid) == len(names(grid))


def test_cheap_first_takes_gamma_0_of_all_tasks_then_row_by_row(make_problem):
    parts = {
        "problems": [make_problem("1"), make_problem("2")],
        "configs": [PLAIN, HOTTER, LONG],
        "gammas": [1, 0, 3],
    }
    grid = Grid(**parts, cheap_first=True)
    rows = [
        ("ns2t0.75d2_ln", 0.0),
        ("ns2t0.75d2_lci_ln", 0.0),
        ("ns2t0.75d2_ln", 1.0),
        ("ns2t0.75d2_ln", 3.0),
        ("ns2t1.2d2_ln", 1.0),
        ("ns2t1.2d2_ln", 3.0),
        ("ns2t0.75d2_lci_ln", 1.0),
        ("ns2t0.75d2_lci_ln", 3.0),
    ]
    assert names(grid) == [(task, *row) for row in rows for task in "12"]
    assert sorted(names(grid)) == sorted(names(Grid(**parts)))


@pytest.mark.parametrize("empty", ["problems", "configs", "gammas"])
def test_a_grid_without_units_is_refused(make_problem, empty):
    parts = {"problems": [make_problem("1")], "configs": [PLAIN], "gammas": [1], empty: []}
    with pytest.raises(ConfigError, match=f"no {empty}"):
        Grid(**parts)


def test_two_problems_of_one_name_are_refused(make_problem):
    with pytest.raises(ConfigError, match="task id '7'"):
        Grid(problems=[make_problem("7"), make_problem("7")], configs=[PLAIN], gammas=[1])


@pytest.mark.parametrize("gamma", [float("nan"), float("inf")])
def test_a_gamma_that_guides_nothing_is_refused(make_problem, gamma):
    with pytest.raises(ConfigError, match="gamma"):
        Grid(problems=[make_problem("7")], configs=[PLAIN], gammas=[gamma])


BASE = Problem(
    task_id="1",
    description="Return n.",
    entry_point="f",
    visible_tests=[AssertTest("assert f(1) == 1")],
)


@pytest.mark.parametrize(
    "changes",
    [
        {"description": "Return n + 1."},
        {"entry_point": "g", "visible_tests": [AssertTest("assert f(1) == 1 or g(1)")]},
        {"visible_tests": [AssertTest("assert f(1) == 2")]},
        {"hidden_tests": [AssertTest("assert f(3) == 3")]},
        {"setup_code": "import math"},
        {"given_code": "def f(n):"},
        {"scorer": "stdio"},
        {"visible_tests": [StdioTest("1", "1")]},
    ],
)
def test_every_part_of_a_problem_changes_its_fingerprint(changes):
    assert problem_sha256(attrs.evolve(BASE, **changes)) != problem_sha256(BASE)
    assert problem_sha256(attrs.evolve(BASE)) == problem_sha256(BASE)
