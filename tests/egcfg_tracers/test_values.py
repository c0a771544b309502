"""Any value becomes bounded text, the same each time, without a line of its classes being run."""

from __future__ import annotations

import collections
import enum
import fractions
import sys
import types
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg_tracers.values import FIELD, MAX_TEXT, clean, describe, message_of, type_name


def text_of(value: object) -> str:
    return describe(value).partition(FIELD)[2]


ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(400, 900).map(lambda digits: 10**digits)
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=300)
    | st.binary(max_size=300)
)
HASHABLE = ATOMS | st.tuples(ATOMS, st.frozensets(st.integers() | st.text(max_size=5), max_size=3))
VALUES: st.SearchStrategy[object] = st.deferred(
    lambda: (
        ATOMS
        | st.lists(VALUES, max_size=6)
        | st.tuples(VALUES, VALUES)
        | st.dictionaries(HASHABLE, VALUES, max_size=3)
        | st.sets(HASHABLE, max_size=6)
        | st.sets(st.integers(), max_size=40)
        | st.builds(collections.deque, st.lists(VALUES, max_size=3))
        | st.builds(types.SimpleNamespace, a=VALUES)
    )
)


@given(VALUES)
def test_any_value_has_bounded_clean_text_that_stays_the_same(value):
    described = describe(value)
    kind, separator, text = described.partition(FIELD)
    assert separator == FIELD
    assert kind == type(value).__name__
    assert 0 < len(text) <= MAX_TEXT
    assert text.isprintable()
    assert describe(value) == described


@given(st.recursive(st.builds(list), lambda inner: st.lists(inner, max_size=4), max_leaves=40))
def test_a_container_that_holds_itself_comes_to_an_end(value):
    holders = [value]
    for holder in holders:
        holders += list(holder)
        if len(holders) > 200:
            break
    for holder in holders[:200]:
        holder.append(value)
    assert len(text_of(value)) <= MAX_TEXT


@given(st.text(max_size=400))
def test_cleaned_text_is_one_printable_bounded_line(text):
    assert clean(text).isprintable()
    assert len(clean(text)) <= 10 * MAX_TEXT  # an escaped character takes up to ten


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (10**1000, "<int of 3322 bits>"),
        (True, "True"),
        (float("nan"), "nan"),
        ("it's", '"it\'s"'),
        ("x" * 100 + "y", f"'{'x' * 70}'... 1 more ...'{'x' * 29}y'"),
        ("a\x00\u202e\ud800", r"'a\x00\u202e\ud800'"),
        (b"\xff", r"b'\xff'"),
        (bytearray(b"ab"), "bytearray(b'ab')"),
        ([1, [2, (3,)]], "[1, [2, (3,)]]"),
        (list(range(22)), f"[{', '.join(map(str, range(20)))}, ... 2 more]"),
        ([[[[[[1]]]]]], "[[[[[...]]]]]"),
        ((), "()"),
        (set(), "set()"),
        (frozenset({2, 1}), "frozenset({1, 2})"),
        ({"b", "a"}, "{'a', 'b'}"),
        ({"k": [1.5]}, "{'k': [1.5]}"),
        (collections.Counter("aab"), "Counter({'a': 2, 'b': 1})"),
        (collections.defaultdict(int, x=1), "defaultdict({'x': 1})"),
        (collections.deque([1]), "deque([1])"),
        (range(3), "range(0, 3)"),
        (range(0, 9, 2), "range(0, 9, 2)"),
        (len, "<function len>"),
        (int, "<class int>"),
        (sys, "<module sys>"),
        (ValueError("no"), "<ValueError: no>"),
        (fractions.Fraction(1, 2), "<Fraction _denominator=2, _numerator=1>"),
        (object(), "<object>"),
    ],
)
def test_a_value_reads_as_its_literal_or_its_class(value, text):
    assert text_of(value) == text


def test_sets_read_alike_however_they_were_filled():
    forward, backward = set(), set()
    members = [(i, str(i)) for i in range(40)]
    for member in members:
        forward.add(member)
    for member in reversed(members):
        backward.add(member)
    assert text_of(forward) == text_of(backward)


def test_instances_show_plain_attributes_and_slots():
    @dataclass
    class Point:
        x: int
        tags: list

    class Slotted:
        __slots__ = ("a", "b")

    slotted = Slotted()
    slotted.a = 1
    Colour = enum.Enum("Colour", "RED")  # noqa: N806 - it is a class
    Pair = collections.namedtuple("Pair", "a b")
    assert text_of(Point(1, ["a"])) == "<Point x=1, tags=['a']>"
    assert text_of(slotted) == "<Slotted a=1>"
    assert text_of(Colour.RED) == "<Colour.RED>"
    assert text_of(Pair(1, 2)) == "<Pair a=1, b=2>"


def test_nothing_that_a_class_defines_is_run():
    def forbidden(*_args, **_kwargs):
        raise AssertionError("code of the program was run")

    hooks = [
        *("__repr__", "__str__", "__format__", "__eq__", "__hash__", "__lt__", "__len__"),
        *("__iter__", "__bool__", "__contains__", "__getitem__", "__index__", "__class__"),
        *("__getattribute__", "__getattr__", "__dict__", "keys", "items"),
    ]

    class Meta(type):
        __hash__ = __eq__ = __repr__ = __instancecheck__ = __subclasscheck__ = forbidden
        __name__ = property(forbidden)

    values = []
    for base in (object, int, str, float, list, tuple, dict, set, frozenset, Exception):
        body = {
            name: property(forbidden) if name in ("__class__", "__dict__") else forbidden
            for name in hooks
        }
        odd = Meta(f"Odd{base.__name__.title()}", (base,), body)
        values.append(odd.__new__(odd))
    for value in values:
        described = describe(value)
        assert described.startswith("Odd")
        describe([value, {1: value}])
        describe(type(value))


def test_a_library_class_keeps_its_internals_to_itself():
    import threading

    assert text_of(threading.Thread(target=print)) == "<Thread>"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("bad"), "bad"),
        (ValueError(), ""),
        (KeyError("k"), "'k'"),
        (FileNotFoundError(2, "No such file"), "[Errno 2] No such file"),
        (ValueError(1, [2]), "1, [2]"),
        (ValueError("<X object at 0x7f00aa>\n"), r"<X object at 0x7f00aa>\n"),
        (ValueError(f"{object()}\n"), r"<object object at 0x...>\n"),
    ],
)
def test_the_message_of_an_exception_is_made_of_its_arguments(error, message):
    assert message_of(error) == message


def test_a_class_with_an_odd_name_is_named_on_one_line():
    odd = type("a\x1f\nb" + "c" * 100, (), {})
    assert FIELD not in type_name(odd())
    assert type_name(odd()).isprintable()
