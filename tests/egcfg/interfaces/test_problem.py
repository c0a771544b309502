from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.errors import UsageError
from egcfg.interfaces.problem import AssertTest, CheckTest, Problem, StdioTest, find_call


@pytest.mark.parametrize(
    ("source", "call"),
    [
        ("assert f(2) == 4", "f(2)"),
        ("assert not f([1, 2], k=3)", "f([1, 2], k=3)"),
        ("assert sorted(f({'a': 1})) == [1]", "f({'a': 1})"),
        ("assert f(f(1)) == f(2)", "f(f(1))"),
        ("assert [1] == f(1)[0]", "f(1)"),
        ("assert abs(f(0.5) - 1) < 1e-6", "f(0.5)"),
        ("assert g(1) == 2", None),
        ("assert obj.f(1) == 2", None),
    ],
)
def test_the_outermost_leftmost_call_is_found(source: str, call: str | None) -> None:
    assert find_call(source, "f") == call


def test_a_broken_test_is_a_syntax_error() -> None:
    with pytest.raises(SyntaxError):
        find_call("assert f(1 ==", "f")


@given(st.integers(), st.integers())
def test_visible_calls_hold_no_expected_value(argument: int, expected: int) -> None:
    problem = Problem(
        task_id="1",
        description="",
        entry_point="f",
        visible_tests=[AssertTest(f"assert f({argument}) == {expected}")],
    )
    assert problem.visible_calls == (f"f({argument})",)


def test_hidden_tests_score_and_visible_ones_only_where_none_are_hidden() -> None:
    visible, hidden = AssertTest("assert f(1) == 1"), CheckTest("def check(f): pass", "f")
    both = Problem(
        task_id="1",
        description="",
        entry_point="f",
        visible_tests=[visible],
        hidden_tests=[hidden],
    )
    assert both.scoring_tests == (hidden,)
    alone = Problem(task_id="1", description="", entry_point="f", visible_tests=[visible])
    assert alone.scoring_tests == (visible,)


def test_a_check_function_cannot_be_visible() -> None:
    with pytest.raises(UsageError, match="cannot be visible"):
        Problem(
            task_id="1",
            description="",
            entry_point="f",
            visible_tests=[CheckTest("def check(f): assert f(1) == 2", "f")],
        )


def test_hidden_tests_stay_out_of_a_problems_repr() -> None:
    problem = Problem(
        task_id="1",
        description="",
        entry_point=None,
        visible_tests=[StdioTest("1\n", "2\n")],
        hidden_tests=[StdioTest("secret", "secret")],
    )
    assert "secret" not in repr(problem)


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        (["assert f(1) == 1"], "is no test; wrap it"),
        ("assert f(1) == 1", "is no test; wrap it"),
        ([AssertTest("assert g(1) == 1")], "no visible test calls 'f'"),
    ],
)
def test_what_cannot_be_a_test_of_the_problem_is_refused(tests: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Problem(task_id="1", description="", entry_point="f", visible_tests=tests)


def test_a_function_may_be_handed_on_rather_than_called() -> None:
    test = AssertTest("assert list(map(f, [1, 2])) == [2, 3]")
    problem = Problem(task_id="1", description="", entry_point="f", visible_tests=[test])
    assert problem.visible_calls == ()


def test_a_test_that_is_not_python_is_refused_where_it_is_written() -> None:
    with pytest.raises(UsageError, match="syntax error in the test 'assert f\\(1 =='"):
        AssertTest("assert f(1 ==")
