from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.comparison.arms import Answer, Arm, Axis, Outcome, counts_of
from egcfg.comparison.comparison import curve
from egcfg.interfaces.usage import Usage

COURSE = st.lists(st.tuples(st.integers(1, 5000), st.booleans()), max_size=6).map(
    lambda answers: sorted(answers, key=lambda answer: answer[0])
)


def test_tokens_are_prompt_tokens_that_no_cache_answered_and_generated_ones() -> None:
    usage = Usage(input_tokens=1000, cached_tokens=700, output_tokens=60, forward_passes=9)
    counts = counts_of(usage, calls=3, executions=5)
    costs = {axis: axis.cost(counts) for axis in Axis}
    assert costs[Axis.TOKENS] == usage.tokens  # what a task's budget counts
    assert costs == {
        Axis.TOKENS: 360,
        Axis.ALL_TOKENS: 1060,
        Axis.OUTPUT: 60,
        Axis.CALLS: 3,
        Axis.PASSES: 9,
        Axis.REQUESTS: 0,
        Axis.EXECUTIONS: 5,
    }


def test_what_nobody_counted_is_unknown_rather_than_nothing() -> None:
    counts = counts_of(Usage(input_tokens=10), calls=None, executions=None)
    assert Axis.CALLS.cost(counts) is None
    assert Axis.TOKENS.cost({"all-tokens": 7}) is None
    assert Axis.ALL_TOKENS.cost({"all-tokens": 7}) == 7


class TestOutcome:
    def test_the_last_answer_within_the_budget_counts(self, make_outcome) -> None:
        found = make_outcome("1", [(100, False), (200, True), (400, False)])
        within = {
            budget: found.solved_within(budget, Axis.TOKENS) for budget in (99, 199, 200, 399, 400)
        }
        assert within == {99: 0.0, 199: 0.0, 200: 1.0, 399: 1.0, 400: 0.0}
        assert found.solved == 0.0
        assert found.reachable

    def test_an_answer_stands_while_the_work_goes_on(self, make_outcome) -> None:
        """Best of n finds its answer early, and spends what is left without a better one."""
        found = make_outcome("1", [(200, True)], end=3000)
        assert found.solved_within(200, Axis.TOKENS) == 1.0

    def test_an_answer_of_unknown_cost_counts_at_the_end(self) -> None:
        found = Outcome(
            task_id="1",
            answers=(Answer(passed=True, counts={"all-tokens": 40}),),
            counts={"uncached": 200, "cached": 0, "output": 100},
        )
        assert found.solved_within(299, Axis.TOKENS) == 0.0
        assert found.solved_within(300, Axis.TOKENS) == 1.0
        assert found.solved_within(40, Axis.ALL_TOKENS) == 1.0

    def test_without_any_cost_nothing_is_said_within_a_budget(self) -> None:
        found = Outcome(task_id="1", answers=(Answer(passed=True),))
        assert found.solved_within(10**9, Axis.TOKENS) is None
        assert found.solved == 1.0

    def test_a_task_without_an_answer_is_not_solved(self) -> None:
        assert Outcome(task_id="1").solved_within(10**9, Axis.TOKENS) == 0.0

    @pytest.mark.parametrize(
        ("visible", "passed", "expected"),
        [(True, False, True), (True, True, False), (False, False, None), (None, False, None)],
    )
    def test_a_false_accept_passes_the_visible_tests_alone(
        self, visible: bool | None, passed: bool, expected: bool | None
    ) -> None:
        answers = (Answer(passed=False, visible=True), Answer(passed=passed, visible=visible))
        assert Outcome(task_id="1", answers=answers).false_accept is expected

    @given(course=COURSE)
    def test_enough_tokens_are_as_good_as_no_limit(self, course: list[tuple[int, bool]]) -> None:
        answers = tuple(
            Answer(passed=p, counts={"uncached": tokens, "output": 0}) for tokens, p in course
        )
        found = Outcome(task_id="1", answers=answers, counts={"uncached": 5000, "output": 0})
        assert found.solved_within(5000, Axis.TOKENS) == found.solved
        assert found.solved_within(0, Axis.TOKENS) == 0.0


@given(courses=st.lists(COURSE, min_size=1, max_size=5), budget=st.integers(0, 6000))
def test_the_curve_is_what_is_solved_within_each_budget(
    courses: list[list[tuple[int, bool]]], budget: int
) -> None:
    outcomes = {
        str(number): Outcome(
            task_id=str(number),
            answers=tuple(Answer(passed=p, counts={"output": tokens}) for tokens, p in course),
            counts={"output": 5000},
        )
        for number, course in enumerate(courses)
    }
    arm = Arm(label="any", outcomes=outcomes)
    reached = [solved for cost, solved in curve(arm, Axis.OUTPUT) if cost <= budget]
    within = [each.solved_within(budget, Axis.OUTPUT) for each in outcomes.values()]
    assert (reached or [0.0])[-1] == sum(map(float, within))


def test_the_method_is_told_by_the_folder(make_arm: Callable[..., Arm]) -> None:
    assert make_arm("a", {}, config="method=best_of_n,n=10").method == "best_of_n"
    assert make_arm("a", {}, config="ns3t0.7d2_chat_ln,accept=true").method is None
    assert Arm(label="samples").method is None


def test_a_mean_that_some_tasks_do_not_tell_is_unknown(race: list[Arm]) -> None:
    [greedy, *_] = race
    assert greedy.mean("output") == 100
    unknown = Outcome(task_id="5")
    assert Arm(label="a", outcomes={**greedy.outcomes, "5": unknown}).mean("output") is None
    assert Arm(label="nothing").mean("output") is None
