"""Only what changed is told, in place or by a new binding, and what is gone."""

from __future__ import annotations

import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg_tracers import forms
from egcfg_tracers.forms import Effort
from egcfg_tracers.journal import ROW
from egcfg_tracers.values import FIELD, describe
from egcfg_tracers.variables import MAX_NAMES, Variables, snapshot


def told(rows: str) -> dict[str, str]:
    return {row.split(FIELD)[0]: row.split(FIELD)[2] for row in (rows.split(ROW) if rows else [])}


def test_a_variable_is_told_when_new_and_when_changed_only():
    variables = Variables()
    assert told(variables.changes({"a": 1, "b": "x"})) == {"a": "1", "b": "'x'"}
    assert told(variables.changes({"a": 1, "b": "x"})) == {}
    assert told(variables.changes({"a": 2, "b": "x"})) == {"a": "2"}


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (lambda: [1], lambda value: value.append(2)),
        (lambda: [[1], 2], lambda value: value[0].append(2)),
        (lambda: {"k": []}, lambda value: value["k"].append(1)),
        (lambda: {1, 2}, lambda value: value.discard(1)),
        (lambda: ([],), lambda value: value[0].append(1)),
        (lambda: [object()], lambda value: value.append(1)),
        (lambda: bytearray(b"a"), lambda value: value.append(98)),
        (lambda: list(range(19)), lambda value: value.append("x" * 3_000)),
    ],
)
def test_a_change_in_place_is_told_once(make, change):
    variables, value = Variables(), make()
    before = told(variables.changes({"v": value}))["v"]
    assert told(variables.changes({"v": value})) == {}
    change(value)
    after = told(variables.changes({"v": value}))["v"]
    assert after != before
    assert told(variables.changes({"v": value})) == {}


def test_a_name_bound_back_to_an_earlier_list_is_told_again():
    variables, value = Variables(), [1]
    variables.changes({"v": value})
    assert told(variables.changes({"v": 5})) == {"v": "5"}
    assert told(variables.changes({"v": value})) == {"v": "[1]"}


def test_equal_values_of_different_types_are_told_apart():
    variables = Variables()
    variables.changes({"v": [1]})
    assert told(variables.changes({"v": [True]})) == {"v": "[True]"}
    assert told(variables.changes({"v": [1.0]})) == {"v": "[1.0]"}


def test_a_deleted_variable_is_told_and_is_new_when_bound_again():
    variables = Variables()
    variables.changes({"a": 1, "b": 2})
    assert told(variables.changes({"b": 2})) == {"a": "<deleted>"}
    assert told(variables.changes({"b": 2})) == {}
    assert told(variables.changes({"a": 1, "b": 2})) == {"a": "1"}


def test_a_deletion_is_told_even_where_a_new_name_takes_its_place():
    variables = Variables()
    variables.changes({".0": 9, "error": 1, "b": 2})
    assert told(variables.changes({".0": 9, "b": 2, "text": 3})) == {
        "text": "3",
        "error": "<deleted>",
    }
    assert told(variables.all()) == {"b": "2", "text": "3"}


def test_odd_names_and_more_than_the_limit_are_left_out():
    crowd = {f"n{i}": i for i in range(MAX_NAMES + 10)}
    odd = {"__doc__": "", ".0": 1, "a b": 2, 7: 3, "line\nbreak": 4}
    assert len(told(Variables().changes({**odd, **crowd}))) == MAX_NAMES
    assert len(told(snapshot({**odd, **crowd}))) == MAX_NAMES
    assert told(Variables().changes(odd)) == {}


class Name(str):
    """A name that objects to being looked up."""

    __slots__ = ()

    def __hash__(self) -> int:
        if self.armed:
            raise AssertionError("the program's own code was run")
        return 1

    armed = False


def test_names_that_are_objects_of_the_program_are_never_hashed():
    variables = {Name("a"): 1, "b": 2}
    Name.armed = True
    looker = Variables()
    assert told(looker.changes_of_any(variables)) == {"b": "2"}
    assert told(looker.all()) == {"b": "2"}


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.sets(st.integers(), max_size=3),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_a_text_from_the_serialised_form_is_the_one_that_any_other_way_gives(value):
    name, _, described = Variables().changes({"v": value}).partition(FIELD)
    assert (name, described) == ("v", describe(value))


@pytest.mark.parametrize(
    "value",
    [[array.array("i", [1])], {"a": bytearray(b"x")}, [StopIteration], [(lambda: 1).__code__]],
)
def test_what_is_serialised_as_something_else_is_told_as_what_it_is(value):
    assert Variables().changes({"v": value}).partition(FIELD)[2] == describe(value)


def places(rows: str) -> list[str]:
    """Return what a single row tells of the places that changed."""
    return rows.split(FIELD)[3:]


class Point:
    total = 0

    def __init__(self, x: int, rest: object = None) -> None:
        self.x, self.rest = x, rest


def chain(length: int) -> Point:
    point = None
    for x in range(length):
        point = Point(x, point)
    return point


def tail_of(point: Point) -> Point:
    while point.rest is not None:
        point = point.rest
    return point


@pytest.mark.parametrize(
    ("make", "change", "told"),
    [
        (lambda: [0] * 30, lambda v: v.__setitem__(25, 3), ["v[25]=3"]),
        (lambda: [0] * 30, lambda v: v.append(7), ["v[30]=7"]),
        (lambda: [0] * 30, lambda v: v.extend(range(5)), ["v[30:]=[0, 1, 2, ... 2 more]"]),
        (lambda: [*range(30)], lambda v: v.pop(), ["len(v)=29"]),
        (lambda: [*range(30)], lambda v: v.pop(0), ["del v[0]"]),
        (lambda: [*range(30)], lambda v: v.insert(25, "x"), ["v.insert(25, 'x')"]),
        (lambda: [*range(40)], lambda v: v.__setitem__(slice(22, 25), [0]), ["v[22:25]=[0]"]),
        (lambda: [[0] * 8 for _ in range(8)], lambda v: v[7].__setitem__(7, 9), ["v[7][7]=9"]),
        (lambda: {i: i for i in range(30)}, lambda v: v.update({27: 99}), ["v[27]=99"]),
        (lambda: {i: i for i in range(30)}, lambda v: v.pop(28), ["del v[28]"]),
        (lambda: {(i, i): i for i in range(30)}, lambda v: v.update({(9, 9): 1}), ["v[(9, 9)]=1"]),
        (lambda: set(range(30)), lambda v: v.add(77), ["v.add(77)"]),
        (lambda: set(range(30)), lambda v: v.discard(25), ["v.remove(25)"]),
        (lambda: [[[[[[1]]]]]], lambda v: v[0][0][0][0][0].append(2), ["v[0][0][0][0][0][1]=2"]),
        (lambda: [Point(1)] * 9, lambda v: setattr(v[0], "x", 5), ["v[0].x=5"]),
        (lambda: chain(60), lambda v: setattr(tail_of(v), "x", 5), [f"v{'.rest' * 59}.x=5"]),
        (lambda: Point, lambda v: setattr(v, "total", v.total + 1), ["v.total=1"]),
        (lambda: lambda: 1, lambda v: setattr(v, "calls", 1), ["v.calls=1"]),
    ],
)
def test_a_change_that_the_text_does_not_show_is_told_by_its_place(make, change, told):
    Point.total = 0
    variables, value = Variables(), make()
    variables.changes({"v": value})
    change(value)
    assert places(variables.changes({"v": value})) == told
    assert variables.changes({"v": value}) == ""


@given(st.lists(st.integers() | st.text(max_size=3), min_size=30, max_size=120), st.data())
def test_any_item_of_a_long_list_may_change(items, data):
    at = data.draw(st.integers(0, len(items) - 1))
    variables = Variables()
    variables.changes({"v": items})
    items[at] = object
    assert places(variables.changes({"v": items})) == [f"v[{at}]=<class object>"]


@given(st.text(min_size=130, max_size=300), st.integers(0, 129))
def test_any_character_of_a_long_text_may_change(text, at):
    variables = Variables()
    variables.changes({"v": text})
    changed = text[:at] + ("b" if text[at] != "b" else "c") + text[at + 1 :]
    assert places(variables.changes({"v": changed})) == [f"v[{at}]={changed[at]!r}"]


def test_lists_that_hold_one_list_many_times_are_not_multiplied():
    value: list = [1]
    for _ in range(40):
        value = [value, value]
    variables = Variables()
    variables.changes({"v": value})
    assert variables.changes({"v": value}) == ""


@pytest.mark.parametrize("as_graph", [False, True])
def test_effort_ends_and_says_so_while_small_values_are_still_compared(as_graph, monkeypatch):
    missed: list[bool] = []
    effort = Effort(lambda: missed.append(True))
    effort.left = 10
    variables = Variables(effort)
    large, small = [0] * 5_000, [1]
    monkeypatch.setattr(forms, "_hopeless", {id(large)} if as_graph else set())
    variables.changes({"large": large, "small": small})
    large[4_000] = 1
    small.append(2)
    assert told(variables.changes({"large": large, "small": small})) == {"small": "[1, 2]"}
    assert missed
