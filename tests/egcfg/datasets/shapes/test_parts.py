from __future__ import annotations

import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.datasets.shapes.parts import python_text

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
)
hashable = st.recursive(scalars, lambda inner: st.tuples(inner, inner), max_leaves=4)
values = st.recursive(
    hashable | st.sets(hashable) | st.frozensets(hashable),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(hashable, inner),
    max_leaves=10,
)


@given(values)
def test_the_text_of_a_value_evaluates_to_it(value: Any) -> None:
    found = eval(python_text(value))
    assert found == value
    assert type(found) is type(value)


def test_numbers_that_have_no_literal_have_a_text() -> None:
    assert math.isnan(eval(python_text(float("nan"))))
    assert eval(python_text([float("inf"), -float("inf")])) == [float("inf"), -float("inf")]
    huge = 10**20_000 - 1
    assert len(str(sys.get_int_max_str_digits())) < 20_000
    assert eval(python_text({"n": -huge})) == {"n": -huge}


def test_what_is_no_plain_value_has_none() -> None:
    with pytest.raises(TypeError, match="object has no source text"):
        python_text([object()])
