from __future__ import annotations

import os
from pathlib import Path

import pytest
from attrs import evolve

from egcfg.comparison.arms import Arm, Outcome
from egcfg.comparison.comparison import compare
from egcfg.comparison.tables import as_markdown, as_text, budget_name

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str, text: str) -> None:
    """Compare with a golden file; UPDATE_GOLDEN=1 rewrites it."""
    if os.environ.get("UPDATE_GOLDEN") == "1":
        (GOLDEN / name).write_text(text, encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


def text(arms: list[Arm], **options: object) -> str:
    return as_text(compare(arms, **options))  # type: ignore[arg-type]


def test_text_is_as_it_was(race: list[Arm]) -> None:
    started = evolve(race[2], outcomes={task: race[2].outcomes[task] for task in ("1", "2", "3")})
    golden("compare.txt", text([*race[:2], started]))


def test_markdown_is_as_it_was(race: list[Arm]) -> None:
    golden("compare.md", as_markdown(compare(race, baselines=["greedy", "best_of_n"])))


def test_markdown_has_tables_of_equal_width_whatever_the_labels(race: list[Arm]) -> None:
    arms = [evolve(race[0], label="a|b"), *race[1:]]
    lines = as_markdown(compare(arms)).splitlines()
    blocks = "\n".join(lines).split("\n\n")
    for block in blocks:
        if block.startswith("|"):
            widths = {line.replace("\\|", "").count("|") for line in block.splitlines()}
            assert len(widths) == 1


def test_columns_that_say_nothing_are_left_out(race: list[Arm]) -> None:
    assert "requests" not in text(race)
    assert "executions" in text(race)
    samples = Arm(label="other", outcomes={"1": Outcome(task_id="1", rate=1.0)})
    assert "What a task took" not in text([samples])


def test_arms_that_differ_in_what_they_saw_each_say_it(race: list[Arm], make_arm) -> None:
    samples = Arm(label="v3", outcomes={"1": Outcome(task_id="1", rate=1.0, scored=3)})
    seeing = make_arm("published", {"1": [(1, True)]}, seen=3)
    half = evolve(race[0], label="half", outcomes={**race[0].outcomes, "1": samples.outcomes["1"]})
    shown = text([*race, seeing, samples, half])
    assert "seen" not in shown.splitlines()[0]
    header, _, *rows = shown.splitlines()[3:11]
    assert "seen/scored" in header
    cells = {row.split("  ")[0]: row for row in rows}
    assert " 1/3 " in cells["greedy"]
    assert " 3/3 " in cells["published"]
    assert " ?/3 " in cells["v3"]
    assert " 1 or ?/3 " in cells["half"]
    assert "seen/scored" not in text(race)


@pytest.mark.parametrize(
    ("budget", "name"), [(125, "125"), (1000, "1k"), (16000, "16k"), (1500, "1500"), (None, "end")]
)
def test_budgets_are_short(budget: int | None, name: str) -> None:
    assert budget_name(budget) == name


def test_many_gained_tasks_are_not_all_named(make_arm) -> None:
    tasks = {str(n): [(10, True)] for n in range(100)}
    arms = [make_arm("best_of_n", {t: [(10, False)] for t in tasks}), make_arm("new", tasks)]
    assert "39 and 60 more; lost none" in text(arms)
