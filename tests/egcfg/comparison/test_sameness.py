from __future__ import annotations

import pytest
from attrs import evolve

from egcfg.comparison.arms import Arm, Outcome
from egcfg.comparison.sameness import check_same
from egcfg.errors import UsageError


def test_arms_of_one_model_and_protocol_are_compared(race: list[Arm]) -> None:
    check_same(race)
    check_same(race[:1])


def test_names_of_the_same_problems_may_differ(race: list[Arm]) -> None:
    """A protocol has a folder of its own, but the problems are what counts."""
    check_same([race[0], evolve(race[1], dataset="mbpp")])


def test_another_protocol_by_name_is_refused_where_no_fingerprint_says_that_it_is_the_same(
    race: list[Arm],
) -> None:
    tasks = {task: Outcome(task_id=task) for task in race[1].outcomes}
    other = evolve(race[1], dataset="mbpp-published", outcomes=tasks)
    with pytest.raises(UsageError, match=r"data set: mbpp-1 \(greedy\), mbpp-published \(best_of"):
        check_same([race[0], other])
    check_same([race[0], evolve(other, dataset=None)])
    one = {**tasks, "3": race[1].outcomes["3"]}
    check_same([race[0], evolve(other, outcomes=one)])


def test_two_models_are_refused_with_the_arms_of_each(race: list[Arm]) -> None:
    with pytest.raises(UsageError) as caught:
        check_same([*race[1:], evolve(race[0], model="huge")])
    assert "model: huge (greedy), tiny (best_of_n and 1 more)" in str(caught.value)
    assert "--allow-mixed" in str(caught.value)


def test_other_weights_under_one_name_are_refused(race: list[Arm]) -> None:
    arms = [
        evolve(arm, provenance={"backend": {"name": "hf", "model": sha}, "method": {"n": 1}})
        for arm, sha in zip(race, ("sha256:a", "sha256:a", "sha256:b"), strict=True)
    ]
    with pytest.raises(UsageError, match=r'backend\.model: "sha256:a"'):
        check_same(arms)


def test_methods_with_other_options_are_what_is_compared(race: list[Arm]) -> None:
    check_same(
        [
            evolve(arm, provenance={"backend": {"model": "a"}, "method": {"n": number}})
            for number, arm in enumerate(race)
        ]
    )


def test_another_number_of_visible_tests_is_another_protocol(race: list[Arm], make_arm) -> None:
    other = make_arm("other", {"1": [(1, True)], "2": [(1, True)]}, seen=3, sha="other")
    with pytest.raises(UsageError, match=r"task 1 and 1 more of .*: tests seen: 1 and 3"):
        check_same([*race, other])


def test_other_tests_by_fingerprint_are_another_protocol(race: list[Arm], make_arm) -> None:
    other = make_arm("other", {"3": [(1, True)]}, sha="another wording")
    with pytest.raises(UsageError, match=r"task 3 of greedy and of other: wording or tests"):
        check_same([*race, other])


def test_arms_on_different_tasks_are_not_compared(race: list[Arm], make_arm) -> None:
    with pytest.raises(UsageError, match="other has no task in common with greedy"):
        check_same([*race, make_arm("other", {"99": [(1, True)]})])


def test_samples_are_held_against_the_number_of_tests_that_score(race: list[Arm]) -> None:
    samples = Arm(label="samples", outcomes={"1": Outcome(task_id="1", rate=1.0, scored=3)})
    check_same([*race, samples])
    fewer = evolve(samples, outcomes={"1": Outcome(task_id="1", rate=1.0, scored=1)})
    with pytest.raises(UsageError, match="tests scored: 3 and 1"):
        check_same([*race, fewer])
