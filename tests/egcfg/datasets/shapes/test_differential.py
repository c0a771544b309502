from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.datasets.shapes.differential import check_against, is_same, truth

NAN = float("nan")


@pytest.mark.parametrize(
    ("found", "wanted", "tolerance", "same"),
    [
        (1, 1, 0, True),
        (1.0 + 1e-9, 1.0, 0, True),
        (1.0 + 1e-4, 1.0, 0, False),
        (1.0 + 1e-4, 1.0, 1e-3, True),
        ([1.0, 2.0 + 1e-9], [1.0, 2.0], 0, True),
        ([1.0], [1.0, 2.0], 1e-3, False),
        ([1, 2], (1, 2), 0, False),
        ((1.0 + 1e-9, 2.0), [1.0, 2.0], 0, True),
        ([[1.0 + 1e-5]], [[1.0]], 1e-3, True),
        ("1.0", 1.0, 1e-3, False),
        (None, 1.0, 1e-3, False),
        ([], [1.0], 0, False),
        ([None], [], 1e-3, False),
        (NAN, NAN, 0, True),
        ([NAN, 1.0], [NAN, 1.0], 0, True),
        (math.inf, math.inf, 0, True),
        (1, math.inf, 1e-3, False),
        (10**400, 1.0, 1e-3, False),
        (1 + 1e-9j, 1 + 0j, 1e-3, True),
        ({"a": 1.0}, {"a": 1.0 + 1e-9}, 0, False),
    ],
)
def test_results_are_the_same_or_not(found: Any, wanted: Any, tolerance: float, same: bool) -> None:
    assert is_same(found, wanted, tolerance) is same


@given(st.recursive(st.floats() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_a_result_is_the_same_as_itself_read_again(value: Any) -> None:
    assert is_same(value, value, 0)


def test_neither_function_sees_what_the_other_did_to_its_arguments() -> None:
    def empty(items: list[int]) -> int:
        count = len(items)
        items.clear()
        return count

    inputs = [[[1, 2]]]
    check_against(empty, empty, inputs, 0)
    assert inputs == [[[1, 2]]]
    with pytest.raises(AssertionError, match="0 instead of 2"):
        check_against(empty, lambda _: 0, inputs, 0)


def test_any_object_but_none_says_yes() -> None:
    assert [truth(value) for value in (True, False, None, 0)] == [True, False, False, True]
