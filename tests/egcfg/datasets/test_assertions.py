from __future__ import annotations

import pytest

from egcfg.datasets.assertions import called_functions, fault_in_assert, infer_entry_point


@pytest.mark.parametrize(
    "test",
    [
        "assert f(2) == 4",
        "assert set(f([2])) == set([4])",
        "assert not f('x')",
        "assert math.isclose(f(2), 4.0, rel_tol=0.001)",
        "assert (f(Pair(1, 2))) == 4, 'message'",
        "assert sorted(f(x) for x in [1]) == [2]",
        "assert f(f(1)) == len('abcd')",
    ],
)
def test_the_called_function_is_found(test: str) -> None:
    assert infer_entry_point([test]) == "f"


def test_it_is_the_one_that_all_tests_call() -> None:
    assert infer_entry_point(["assert g(f(1)) == 1", "assert f(2) == g2(1)"]) == "f"
    assert infer_entry_point(["assert g(1)", "assert f(1)"]) is None
    assert infer_entry_point(["assert 1 == 1"]) is None
    assert infer_entry_point([]) is None


def test_what_the_setup_defines_or_imports_is_not_asked_for() -> None:
    setup = "from lib import close as near\ndef g(x): return x\n"
    assert infer_entry_point(["assert near(g(f(1)), 2)"], setup) == "f"


def test_a_function_may_hide_a_builtin() -> None:
    assert infer_entry_point(["assert sum(10, 15) == 6"]) == "sum"
    assert infer_entry_point(["assert max(f(1), 2) == 2"]) == "f"
    assert infer_entry_point(["assert max(f(1), 2) == 2"], reference="def max(a, b): ...") == "max"


def test_a_broken_reference_solution_is_ignored() -> None:
    assert infer_entry_point(["assert f(1)"], reference="def f(:") == "f"


def test_calls_come_outermost_and_leftmost_first() -> None:
    assert list(called_functions("assert a(b(1), c(2)) == d(3)")) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("test", "fault"),
    [
        ("assert f(2) = 4", "syntax error"),
        ("f(2) == 4", "must be one assert"),
        ("x = f(2)\nassert x == 4", "must be one assert"),
        ("", "must be one assert"),
        ("assert '\0'", "syntax error|no Python"),
    ],
)
def test_a_fault_is_told(test: str, fault: str) -> None:
    told = fault_in_assert(test)
    assert told is not None
    assert any(part in told for part in fault.split("|"))


def test_a_good_assert_has_no_fault_whatever_its_escapes() -> None:
    assert fault_in_assert(r" assert f('\d') == (" + "\n4)") is None
