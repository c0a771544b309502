from __future__ import annotations

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from egcfg.errors import UsageError
from egcfg.interfaces.problem import (
    AssertTest,
    CheckTest,
    Problem,
    Program,
    StdioTest,
    TestCase,
    find_call,
    uses_when_run,
)
from egcfg.interfaces.tracer import TraceRequest
from egcfg.sandbox.types import Limits


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
        ("assert f(2)(3) == 5", "f(2)(3)"),
        ("assert f().push(1).top() == 1", "f().push(1).top()"),
        ("assert f(2).parts[0].total(3) == 1", "f(2).parts[0].total(3)"),
        ("assert f.make(2) == 4", "f.make(2)"),
        ("assert f(2).x == 4", "f(2)"),
        ("first = f(1)\nassert f(first) == 2", "f(1)"),
        ("pair = [1]\npair.append(2)\nassert f(*pair) == 3", None),
        ("for i in range(3):\n    assert f(i) == i", None),
        ("import math\nassert f(math.pi) == 3", None),
        ("with open('x') as x:\n    assert f(x) == 3", None),
        ("def g(x): return f(x)\nassert f(g) == 3", None),
        ("assert all(f(i) == i for i in range(3))", None),
        ("assert (lambda v: f(v))(3) == f(4)", "f(4)"),
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
    [request] = problem.executions("def f(x): return x")
    assert request.call == f"f({argument})"


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
    assert problem.executions("f = abs") == []


def test_a_test_that_is_not_python_is_refused_where_it_is_written() -> None:
    with pytest.raises(UsageError, match="syntax error in the test 'assert f\\(1 =='"):
        AssertTest("assert f(1 ==")


def test_setup_code_runs_before_the_program() -> None:
    problem = Problem(
        task_id="1",
        description="",
        entry_point="f",
        visible_tests=[AssertTest("assert f(1) == 1")],
        setup_code="import math",
    )
    [request] = problem.executions("def f(x):\n    return x")
    assert (request.setup, request.source) == ("import math", "def f(x):\n    return x")


def test_an_input_runs_the_whole_program_or_the_function_where_one_is_asked_for() -> None:
    for entry_point, call in ((None, None), ("main", "main()")):
        problem = Problem(
            task_id="1",
            description="",
            entry_point=entry_point,
            visible_tests=[StdioTest("3\n", "secret\n")],
        )
        [request] = problem.executions("print(input())")
        assert (request.call, request.stdin) == (call, "3\n")
        assert "secret" not in repr(request)


def test_a_check_function_executes_nothing_since_its_calls_hold_expected_values() -> None:
    test = CheckTest("def check(f): assert f(1) == 2", "f")
    assert test.executions(Program("def f(x): return x", "f")) == []


@frozen
class FileTest(TestCase):
    """A kind that no one here knows: a program that reads a file's name."""

    path: str

    @property
    def name(self) -> str:
        return f"reads {self.path}"

    def executions(self, program: Program) -> list[TraceRequest]:
        return [TraceRequest(source=program.source, stdin=self.path)]


def test_a_problem_takes_a_kind_of_test_that_it_does_not_know() -> None:
    tests = [FileTest("a.txt"), AssertTest("assert f(1) == 2"), FileTest("b.txt")]
    problem = Problem(task_id="1", description="", entry_point="f", visible_tests=tests)
    assert problem.scoring_tests == tuple(tests)
    requests = problem.executions("def f(x): return x + 1")
    assert [(request.call, request.stdin) for request in requests] == [
        (None, "a.txt"),
        ("f(1)", ""),
        (None, "b.txt"),
    ]


def test_a_kind_of_test_that_says_nothing_about_its_execution_is_none() -> None:
    class Nameless(TestCase):
        @property
        def name(self) -> str:
            return ""

    with pytest.raises(TypeError, match="executions"):
        Nameless()  # type: ignore[abstract]


def test_a_problems_limits_hold_for_its_traces_and_leave_others_alone() -> None:
    usual = Limits(cpu_seconds=2, wall_seconds=8, memory_bytes=7, output_bytes=9)
    limited = Problem(
        task_id="t",
        description="",
        entry_point=None,
        visible_tests=[StdioTest("1", "1"), StdioTest("2", "2")],
        time_limit=0.5,
        memory_limit=64,
    )
    assert limited.limits(usual) == Limits(
        cpu_seconds=0.5, wall_seconds=2, memory_bytes=64 << 20, output_bytes=9
    )
    requests = limited.executions("print(1)")
    assert [request.limits for request in requests] == [
        limited.limits(TraceRequest(source="").limits)
    ] * 2
    unlimited = Problem(task_id="t", description="", entry_point=None, visible_tests=[])
    assert unlimited.limits(usual) is usual


@pytest.mark.parametrize("limit", [0, -1.0, float("nan")])
@pytest.mark.parametrize("name", ["time_limit", "memory_limit"])
def test_a_limit_is_above_zero(name: str, limit: float) -> None:
    with pytest.raises(UsageError, match=f"task t: {name} must be above zero"):
        Problem(task_id="t", description="", entry_point=None, visible_tests=[], **{name: limit})


DEFINED = "def solve():\n    print(input())\n"


@pytest.mark.parametrize(
    ("program", "uses"),
    [
        (DEFINED, False),
        (DEFINED + "solve()", True),
        (DEFINED + "if __name__ == '__main__':\n    solve()", True),
        (DEFINED + "def main():\n    solve()", False),
        (DEFINED + "def main():\n    solve()\nmain()", True),
        ("def main():\n    solve()\n" + DEFINED + "main()", True),
        (DEFINED + "def main():\n    solve()\ndef other():\n    main()\nother()", True),
        (DEFINED + "def main():\n    solve()\ndef other():\n    main()\n", False),
        (DEFINED + "class A:\n    def go(self):\n        solve()\n", False),
        (DEFINED + "class A:\n    def go(self):\n        solve()\nA().go()", True),
        (DEFINED + "class A:\n    def go(self):\n        solve()\nA()", False),
        (DEFINED + "class A:\n    def __init__(self):\n        solve()\nA()", True),
        (DEFINED + "class A:\n    solve()\n", True),
        (DEFINED + "main = solve\nmain()", True),
        (DEFINED + "run(target=solve)", True),
        (DEFINED + "f'{solve()}'", True),
        (DEFINED + "x = lambda: solve()", True),
        (DEFINED + "async def main():\n    solve()\nasyncio.run(main())", True),
        (DEFINED + "solve.calls = 0", True),
        (DEFINED + "a.solve()", False),
        (DEFINED + "solve = None", False),
        ("def solve(n):\n    return solve(n - 1)\n", False),
        ("\ufeff" + DEFINED + "solve()", True),
        ("def solve(:", False),
        ("", False),
    ],
)
def test_a_program_uses_a_function_where_its_top_level_leads_there(
    program: str, uses: bool
) -> None:
    assert uses_when_run(program, "solve") == uses
    calls = [None if uses else "solve()"]
    assert [r.call for r in StdioTest("1", "1").executions(Program(program, "solve"))] == calls


@given(st.text("ab", min_size=1, max_size=400))
def test_an_input_has_a_name_of_bounded_length_and_its_own(stdin: str) -> None:
    name = StdioTest(stdin, "").name
    assert len(name) < 300
    assert name != StdioTest(stdin + "a", "").name
    assert name != StdioTest(stdin[:-1] + "c", "").name
