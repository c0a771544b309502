"""The codec: what goes through unchanged, what is reduced, and what hostile bytes can do."""

from __future__ import annotations

import contextlib
import enum
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Iterator, MappingView
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.sandbox.confined import codec

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters(), max_size=20)
    | st.text(st.characters(categories=["Cs"]), max_size=3)
    | st.binary(max_size=20)
    | st.fractions()
    | st.decimals(allow_nan=False)
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.timedeltas()
    | st.builds(range, st.integers(), st.integers(), st.integers(1, 9))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.frozensets(SCALARS, max_size=4)
        | st.sets(SCALARS, max_size=4)
        | st.dictionaries(SCALARS, inner, max_size=4)
        | st.builds(deque, st.lists(inner, max_size=4), st.none() | st.integers(4, 9))
    ),
    max_leaves=20,
)


def spelt(value: Any) -> Any:
    """Return what a value is, with its types all the way down; sets in one order.

    Their own order is no part of them: where hashes collide, it changes with each copy.
    """
    name = type(value).__name__
    if isinstance(value, set | frozenset):
        return name, sorted(map(repr, map(spelt, value)))
    if isinstance(value, dict):
        return name, [(spelt(key), spelt(item)) for key, item in value.items()]
    if isinstance(value, deque):
        return name, value.maxlen, list(map(spelt, value))
    if isinstance(value, list | tuple | Iterator | MappingView):
        return name, list(map(spelt, value))
    return name, codec.encode(value)


@given(VALUES)
def test_values_come_back_equal_and_of_the_same_type(value: Any) -> None:
    assert spelt(codec.decode(codec.encode(value))) == spelt(value)


def is_one_value(data: bytes) -> None:
    """Assert that bytes are refused, or are a value that stays what it is from then on."""
    with contextlib.suppress(codec.DecodeError):
        encoded = codec.encode(codec.decode(data))
        assert spelt(codec.decode(encoded)) == spelt(codec.decode(data))


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_a_value_or_a_decode_error(data: bytes) -> None:
    is_one_value(data)


@given(VALUES, st.data())
def test_damaged_encodings_are_a_value_or_a_decode_error(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(codec.encode(value))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] = data.draw(st.integers(0, 255))
    is_one_value(bytes(encoded))


@given(VALUES)
def test_no_proper_prefix_and_no_extension_is_a_value(value: Any) -> None:
    encoded = codec.encode(value)
    for wrong in (encoded[:-1], encoded + b"N"):
        with pytest.raises(codec.DecodeError):
            codec.decode(wrong)


class Color(enum.IntEnum):
    RED = 1


class Liar(list):  # type: ignore[type-arg]
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]

    def __iter__(self) -> Any:
        raise RuntimeError("iterated")

    def __len__(self) -> int:
        return 99


class LyingInt(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __int__(self) -> int:
        return 77

    def __index__(self) -> int:
        return 77


class LyingText(str):
    def __str__(self) -> str:
        return "lie"

    def encode(self, *_: Any) -> bytes:  # type: ignore[override]
        return b"lie"


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Color.RED, 1),
        (Liar([1, 2]), [1, 2]),
        (LyingInt(5), 5),
        (LyingText("text"), "text"),
        (Point(1, 2), (1, 2)),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, {1: [2]}), {1: [2]}),
        ({LyingInt(3): 4}, {3: 4}),
    ],
)
def test_subclasses_become_the_value_beneath_without_their_own_methods(
    value: Any, plain: Any
) -> None:
    assert spelt(codec.decode(codec.encode(value))) == spelt(plain)


def test_views_stay_views_and_iterators_are_drained() -> None:
    table = {"a": 1, "b": 2}
    assert codec.decode(codec.encode(table.keys())) == table.keys()
    assert codec.decode(codec.encode(table.items())) == table.items()
    assert list(codec.decode(codec.encode(table.values()))) == [1, 2]
    for iterator in (map(str, [1, 2]), (c for c in "12"), iter(["1", "2"]), reversed(["2", "1"])):
        assert list(codec.decode(codec.encode(iterator))) == ["1", "2"]


def test_special_numbers_keep_their_bits() -> None:
    assert str(codec.decode(codec.encode(-0.0))) == "-0.0"
    assert str(codec.decode(codec.encode(float("nan")))) == "nan"
    assert codec.decode(codec.encode(10**20000)) == 10**20000
    assert codec.decode(codec.encode(-(2**63))) == -(2**63)


def endless() -> Any:
    while True:
        yield 0


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        lambda: None,
        int,
        codec,
        nested(5000),
        CYCLE,
        endless(),
        bytes(33 << 20),
        [None] * 1_000_001,
        [1 << 40] * (5 << 20),
        Fraction(1, 1 << 40000),
        Decimal((0, (1,) * 10_001, 0)),
        datetime.now().astimezone(),
        enum.Enum("Shade", "DARK")["DARK"],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_carried_is_refused(value: Any) -> None:
    with pytest.raises(codec.EncodeError):
        codec.encode(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"?",
        b"i\x00\x00\x00\x00",
        b"i\xff\xff\xff\xff\x01",
        b"l\xff\xff\xff\xffN",
        b"l\x00\x00\x00\x01" * 5000 + b"N",
        b"S\x00\x00\x00\x01l\x00\x00\x00\x00",  # an unhashable key
        b"s\x00\x00\x00\x01\xff",
        b"m\x00\x00\x00\x03abc",
        b"Rii",
        b"r" + codec.encode(1) + codec.encode(0),
        b"D\x00\x00\x00\x02no",
        b"qN" + codec.encode(3),
        b"d" + codec.encode(10**30) * 3,
        b"l\x1f\xff\xff\xff\x00",  # packed numbers that are not there
        b"l\x70\x00\x00\x00",  # packed as nothing is
        b"l\x60\x00\x00\x01\x02" + bytes(8),  # neither a float nor an integer
        b"l\x60\x00\x00\x02\x00\x01" + bytes(8),  # one of two numbers
    ],
)
def test_malformed_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(codec.DecodeError):
        codec.decode(data)


def test_bounds_hold_for_the_decoder_too() -> None:
    encoded = codec.encode([None] * 100)
    for bounds in (codec.Bounds(size=50), codec.Bounds(nodes=50)):
        with pytest.raises(codec.DecodeError):
            codec.decode(encoded, bounds)
    with pytest.raises(codec.DecodeError):
        codec.decode(codec.encode(dict.fromkeys(range(100))), codec.Bounds(keys=50))
    with pytest.raises(codec.DecodeError):
        codec.decode(codec.encode(nested(10)), codec.Bounds(depth=5))


@pytest.mark.parametrize("bits", [7, 15, 31, 63, 64])
def test_numbers_in_a_row_are_exact_at_the_ends_of_each_width(bits: int) -> None:
    for value in ([-(1 << bits), (1 << bits) - 1], [-(1 << bits) - 1, 0], [0, 1 << bits]):
        assert spelt(codec.decode(codec.encode(value))) == spelt(value)


@pytest.mark.parametrize(
    "numbers",
    [
        *([1, True], [1.0, 1], [-0.0, 1e308, 5e-324], [True], []),
        *([1, 0.5, -(1 << 63), float("inf")], [1 << 63, 0.5], [10**400, 0.5, 2]),
        [float("inf"), float("-inf"), 1],
    ],
)
def test_numbers_in_a_row_keep_their_types(numbers: list[Any]) -> None:
    found = codec.decode(codec.encode(numbers))
    assert spelt(found) == spelt(numbers)
    assert list(map(str, found)) == list(map(str, numbers))


def test_a_million_numbers_in_a_row_are_carried() -> None:
    numbers = list(range(1_500_000))
    assert codec.decode(codec.encode(numbers)) == numbers
    numbers[1::2] = map(float, numbers[1::2])
    found = codec.decode(codec.encode(numbers))
    assert found == numbers
    assert list(map(type, found)) == list(map(type, numbers))


def test_dates_and_durations_are_exact() -> None:
    for value in (date(1, 1, 1), time(23, 59, 59, 999999), timedelta.min, datetime.max):
        assert spelt(codec.decode(codec.encode(value))) == spelt(value)


@pytest.mark.parametrize("tag", [b"S", b"Z", b"k"])
def test_keys_of_one_hash_are_refused_before_they_cost_anything(tag: bytes) -> None:
    numbers = [i * (2**61 - 1) for i in range(100_000)]
    body = codec.encode(numbers)
    with pytest.raises(codec.DecodeError, match="too many keys of the same hash"):
        codec.decode(tag + body[1:])
    for count in (20, 51, 1000):
        few = codec.encode(numbers[:count])
        assert len(codec.decode(tag + few[1:])) == count


def test_times_with_an_offset_are_exact() -> None:
    for zone in (UTC, timezone(timedelta(hours=-3, minutes=-30))):
        for value in (datetime(2020, 1, 2, tzinfo=zone), time(3, 4, tzinfo=zone)):
            assert spelt(codec.decode(codec.encode(value))) == spelt(value)
