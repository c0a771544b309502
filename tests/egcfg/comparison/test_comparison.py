from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from egcfg.comparison.arms import Answer, Arm, Axis, Outcome
from egcfg.comparison.comparison import common_tasks, compare, default_budgets
from egcfg.comparison.tables import as_text
from egcfg.errors import UnknownNameError, UsageError

MakeArm = Callable[..., Arm]


def solved(comparison, label: str) -> list[float | None]:
    [row] = [row for row in comparison.rows if row.arm.label == label]
    return [None if share is None else share.solved for share in row.shares]


def test_each_arm_solves_so_many_within_each_budget_and_in_the_end(race: list[Arm]) -> None:
    found = compare(race, budgets=[500, 1000, 2000])
    assert found.budgets == (500, 1000, 2000)
    assert solved(found, "greedy") == [1, 1, 1, 1]
    assert solved(found, "best_of_n") == [1, 2, 3, 3]
    assert solved(found, "egcfg") == [0, 2, 2, 2]


def test_arms_are_held_against_best_of_n_at_equal_tokens(race: list[Arm]) -> None:
    found = compare(race, budgets=[500, 1000])
    duels = {(duel.label, duel.budget): duel for duel in found.duels}
    assert {duel.baseline for duel in found.duels} == {"best_of_n"}
    assert duels["egcfg", 500].gained == ()
    assert duels["egcfg", 500].lost == ("1",)
    assert (duels["egcfg", 1000].gained, duels["egcfg", 1000].lost) == (("3",), ("1",))
    assert duels["egcfg", 1000].p == 1.0
    assert duels["egcfg", None].lost == ("1", "4")
    assert duels["egcfg", None].difference == -0.25


def test_union_and_oracle_are_told_apart(race: list[Arm]) -> None:
    found = compare(race)
    assert found.union == ("1", "2", "3", "4")
    late = Outcome(
        task_id="5", answers=(Answer(passed=True), Answer(passed=False)), counts={"output": 1}
    )
    arms = [evolve(race[0], outcomes={**race[0].outcomes, "5": late}), *race[1:]]
    found = compare(arms)
    assert "5" not in found.union
    assert "5" in found.reachable
    assert found.rows[0].reachable == 2


def test_false_accepts_are_of_those_that_were_accepted(race: list[Arm]) -> None:
    [greedy, best_of_n, _] = compare(race).rows
    assert (greedy.accepted, greedy.false_accepts) == (4, 3)
    assert (best_of_n.accepted, best_of_n.false_accepts) == (0, 0)


def test_the_baseline_is_chosen_by_its_label_or_the_beginning_of_one(race: list[Arm]) -> None:
    for label in ("greedy", "gre"):
        found = compare(race, baselines=[label])
        assert {duel.baseline for duel in found.duels} == {"greedy"}
    both = compare(race, baselines=["greedy", "best_of_n"])
    assert {duel.baseline for duel in both.duels} == {"greedy", "best_of_n"}


def test_a_baseline_that_cannot_be_one_is_refused_with_the_reason(
    race: list[Arm], make_arm: MakeArm
) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'greedy'"):
        compare(race, baselines=["greddy"])
    arms = [*race, make_arm("egcfg_fast", {"1": [(1, True)]}), make_arm("retry", {})]
    with pytest.raises(UsageError, match="several arms begin with 'eg': egcfg, egcfg_fast; give"):
        compare(arms, baselines=["eg"])
    assert {duel.baseline for duel in compare(arms, baselines=["egcfg"]).duels} == {"egcfg"}
    with pytest.raises(UsageError, match="'retry' has finished no task"):
        compare(arms, baselines=["retry"])


def test_without_a_baseline_nothing_is_gained_or_lost_and_that_is_said(race: list[Arm]) -> None:
    found = compare([race[0], race[2]])
    assert found.duels == ()
    assert any("--baseline" in note for note in found.notes)


def test_of_several_bars_the_one_called_so_is_the_baseline_or_one_is_chosen(
    race: list[Arm], make_arm: MakeArm
) -> None:
    other = make_arm("best_of_n,n=5", {"1": [(100, True)]}, config="method=best_of_n,n=5")
    found = compare([other, *race])
    assert {duel.baseline for duel in found.duels} == {"best_of_n"}
    arms = [other, race[0], evolve(race[1], label="best_of_n,n=10")]
    found = compare(arms)
    assert found.duels == ()
    assert any("2 arms of best_of_n" in note for note in found.notes)
    assert compare(arms, baselines=["best_of_n,n=5"]).duels


def test_an_unfinished_arm_is_compared_on_what_it_has(race: list[Arm]) -> None:
    [greedy, best_of_n, egcfg] = race
    started = evolve(egcfg, outcomes={task: egcfg.outcomes[task] for task in ("1", "2")})
    found = compare([greedy, best_of_n, started], budgets=[1000])
    assert "unfinished: egcfg has 2 of 4 tasks" in found.notes
    assert found.rows[2].shares[-1].tasks == 2
    assert {duel.tasks for duel in found.duels if duel.label == "egcfg"} == {2}


def test_tasks_that_no_arm_has_finished_yet_count_where_they_were_planned(race: list[Arm]) -> None:
    planned = [evolve(arm, planned=("1", "2", "3", "4", "5", "6")) for arm in race]
    found = compare(planned)
    assert (len(found.tasks), found.planned) == (4, 6)
    assert {row.tasks for row in found.rows} == {6}
    assert "unfinished: greedy has 4 of 6 tasks" in found.notes
    assert "4 of 6 tasks" in as_text(found).splitlines()[0]
    assert not any("unfinished" in note for note in compare(common_tasks(planned)).notes)


def test_common_tasks_are_those_that_all_arms_finished(race: list[Arm], make_arm: MakeArm) -> None:
    [greedy, best_of_n, egcfg] = race
    started = evolve(egcfg, outcomes={task: egcfg.outcomes[task] for task in ("1", "2")})
    arms = common_tasks([greedy, best_of_n, started])
    assert all(list(arm.outcomes) == ["1", "2"] for arm in arms)
    assert not any("unfinished" in note for note in compare(arms).notes)
    with pytest.raises(UsageError, match="no task was finished by every arm"):
        common_tasks([greedy, make_arm("other", {"99": [(1, True)]})])


def test_an_arm_without_a_common_task_is_not_tested_and_that_is_said(
    race: list[Arm], make_arm: MakeArm
) -> None:
    found = compare([*race, make_arm("far", {"99": [(1, True)]})])
    assert "far is not tested against best_of_n: they have no task in common" in found.notes
    assert {duel.label for duel in found.duels} == {"greedy", "egcfg"}


def test_one_task_is_a_comparison_without_certainty(make_arm: MakeArm) -> None:
    arms = [make_arm("best_of_n", {"1": [(100, True)]}), make_arm("new", {"1": [(100, False)]})]
    found = compare(arms)
    assert found.rows[0].shares[-1].interval == pytest.approx((0.025, 1.0))
    [duel] = [duel for duel in found.duels if duel.budget is None]
    assert (duel.gained, duel.lost, duel.p, duel.interval) == ((), ("1",), 1.0, None)


def test_an_arm_without_a_result_is_left_out(race: list[Arm], make_arm: MakeArm) -> None:
    found = compare([*race, evolve(make_arm("none", {}), planned=("1", "7"))])
    assert len(found.rows) == 3
    assert "left out: none: 0 of 5 tasks finished" in found.notes
    with pytest.raises(UsageError, match="no arm has finished a task"):
        compare([make_arm("none", {})])


def test_samples_of_another_tool_stand_beside_without_a_curve(race: list[Arm]) -> None:
    samples = Arm(
        label="other",
        outcomes={
            "1": Outcome(task_id="1", rate=0.5, scored=3),
            "2": Outcome(task_id="2", rate=1.0, scored=3),
            "3": Outcome(task_id="3", rate=0.0, scored=3),
            "4": Outcome(task_id="4", rate=0.0, scored=3),
        },
    )
    found = compare([*race, samples], budgets=[500])
    assert solved(found, "other") == [None, 1.5]
    alone = compare([samples])
    assert (alone.union, alone.reachable) == (("2",), ("1", "2"))
    assert all(duel.label != "other" for duel in found.duels)
    why = "other has several samples of a task, and none of them is its answer"
    assert f"other is not tested against best_of_n: {why}" in found.notes
    bar = compare([*race, samples], baselines=["other"])
    assert bar.duels == ()
    assert f"greedy is not tested against other: {why}" in bar.notes

    single = evolve(
        samples, outcomes={t: evolve(o, rate=float(t == "3")) for t, o in samples.outcomes.items()}
    )
    [duel] = [duel for duel in compare([*race, single]).duels if duel.label == "other"]
    assert (duel.budget, duel.gained, duel.lost) == (None, ("3",), ("1", "2", "4"))


def test_answers_of_unknown_cost_are_told_of(make_arm: MakeArm) -> None:
    old = Outcome(
        task_id="1",
        answers=(
            Answer(passed=False, counts={"all-tokens": 100}),
            Answer(passed=True, counts={"all-tokens": 300}),
        ),
        counts={"uncached": 100, "cached": 100, "output": 100},
    )
    arm = evolve(make_arm("best_of_n", {}), outcomes={"1": old})
    assert any("2 answers count at the end" in note for note in compare([arm]).notes)
    assert not any("count at the end" in n for n in compare([arm], axis=Axis.ALL_TOKENS).notes)


def test_settings_of_no_method_are_told_of_where_they_differ(race: list[Arm]) -> None:
    arms = [
        evolve(arm, provenance={"decoding": {"max_tokens": tokens}, "method": {"name": arm.label}})
        for arm, tokens in zip(race, (512, 512, 200), strict=True)
    ]
    [note] = [note for note in compare(arms).notes if note.startswith("settings differ")]
    assert note == ("settings differ: decoding.max_tokens: 200 (egcfg), 512 (best_of_n and 1 more)")


def test_an_axis_of_which_nothing_was_spent_is_refused_with_those_that_have_counts(
    race: list[Arm],
) -> None:
    with pytest.raises(
        UsageError, match=r"any requests.*: tokens, all-tokens, output, calls, pass"
    ):
        compare(race, axis=Axis.REQUESTS)
    free = Outcome(task_id="1", answers=(Answer(passed=True, counts={"requests": 0}),))
    with pytest.raises(UsageError, match=r"nothing to compare$"):
        compare([Arm(label="free", outcomes={"1": free})], axis=Axis.REQUESTS)


class TestDefaultBudgets:
    def test_double_from_the_cheapest_arm_to_where_all_is_said(self, race: list[Arm]) -> None:
        assert default_budgets(race, Axis.TOKENS) == (125, 250, 500, 1000, 2000)
        assert default_budgets(race, Axis.CALLS) == (2, 4, 8, 16, 32)

    @given(ends=st.lists(st.integers(1, 10**6), min_size=1, max_size=9))
    def test_are_round_few_and_ascending(self, ends: list[int]) -> None:
        arm = Arm(
            label="any",
            outcomes={
                str(n): Outcome(
                    task_id=str(n),
                    answers=(Answer(passed=True, counts={"uncached": 0, "output": end}),),
                    counts={},
                )
                for n, end in enumerate(ends)
            },
        )
        found = default_budgets([arm], Axis.TOKENS)
        assert 1 <= len(found) <= 8
        assert all(after == 2 * before for before, after in itertools.pairwise(found))
        assert found[0] in {1000 * 2**n // 8 for n in range(20)}

    def test_there_are_none_where_no_costs_are_known(self) -> None:
        samples = Arm(label="other", outcomes={"1": Outcome(task_id="1", rate=1.0)})
        found = compare([samples])
        assert found.budgets == ()
        assert found.rows[0].shares[-1].solved == 1.0
