"""Plain values to bytes, by the builtin types' own methods only (see `codec`)."""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NoReturn

from .arrays import Parts, to_parts
from .bounds import (
    DECIMAL_CHARS,
    DEFAULT,
    F64,
    FRACTION_BYTES,
    MIXED,
    PACKED,
    PACKED_SHIFT,
    U32,
    Bounds,
    EncodeError,
)

__all__ = ["LEAVES", "WRITERS", "Encoder", "encode"]

_NUMBERS: Final = frozenset((int, float))
# The form of the smallest integers that a number of so many bits is one of.
_FORMS: Final = (1,) * 8 + (2,) * 8 + (3,) * 16 + (4,) * 32


def encode(value: object, bounds: Bounds = DEFAULT) -> bytes:
    """Return `value` as bytes.

    Raises:
        EncodeError: it holds something that cannot be carried, or is too large, deep or cyclic.
    """
    encoder = Encoder(bounds)
    encoder.put(value, 0)
    return b"".join(encoder.parts)


class Encoder:
    """One encoding at work: what was written, and how much of the bounds it took."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.parts: list[bytes] = []
        self.size = 0
        self.nodes = 0
        self.keys = 0

    def put(self, value: object, depth: int) -> None:
        """Write a value."""
        self.enter(depth)
        kind = type(value)
        leaf = LEAVES.get(kind)
        if leaf is not None:
            self.write(leaf(value))
            return
        writer = WRITERS.get(kind)
        if writer is None:
            if (parts := to_parts(value)) is not None:
                _put_parts(self, parts, depth)
                return
            writer = next((WRITERS[base] for base in kind.__mro__ if base in WRITERS), None)
            if writer is None:
                raise EncodeError(f"a value of type {_name(kind)} cannot be carried over")
        writer(self, value, depth)

    def enter(self, depth: int) -> None:
        """Count a value.

        Raises:
            EncodeError: there are too many, or it is too deep in others.
        """
        self.nodes += 1
        if self.nodes > self.bounds.nodes or depth > self.bounds.depth:
            self.refuse()

    def refuse(self) -> NoReturn:
        """End the encoding of what holds too much, or is too deep.

        Raises:
            EncodeError: always.
        """
        if self.size > self.bounds.size:
            raise EncodeError(f"more than {self.bounds.size} bytes")
        if self.nodes > self.bounds.nodes:
            raise EncodeError(f"more than {self.bounds.nodes} values")
        raise EncodeError(f"nested deeper than {self.bounds.depth}, or in itself")

    def write(self, piece: bytes) -> None:
        """Write a tag and what follows it."""
        self.size += len(piece)
        if self.size > self.bounds.size:
            self.refuse()
        self.parts.append(piece)

    def write_sized(self, tag: bytes, payload: bytes) -> None:
        """Write a tag and bytes after their number."""
        self.write(tag + U32.pack(len(payload)) + payload)

    def count_keys(self, count: int) -> None:
        """Count entries of sets and dicts."""
        self.keys += count
        if self.keys > self.bounds.keys:
            raise EncodeError(f"more than {self.bounds.keys} keys in sets and dicts")

    def write_items(self, tag: bytes, items: Sequence[Any], depth: int) -> None:
        """Write a tag and values after their number."""
        if items and type(items[0]) in _NUMBERS and (form := _packed_form(items)):
            count = U32.pack(len(items) | form << PACKED_SHIFT)
            packed = _mixed(items) if form == MIXED else _packed(items, PACKED[form])
            self.write(tag + count + packed)
            return
        self.write(tag + U32.pack(len(items)))
        depth += 1
        for item in items:
            leaf = LEAVES.get(type(item))
            if leaf is None:
                self.put(item, depth)
                continue
            piece = leaf(item)
            self.parts.append(piece)
            self.size += len(piece)
            self.nodes += 1
            if self.size > self.bounds.size or self.nodes > self.bounds.nodes:
                self.refuse()
        if depth > self.bounds.depth:
            self.refuse()


def _packed_form(items: Sequence[Any]) -> int:
    """Return the smallest of the forms of `bounds` that all items fit; 0 where none does."""
    kinds = set(map(type, items))
    if not kinds <= _NUMBERS:
        return 0
    floats = items if kinds == {float} else [item for item in items if type(item) is float]
    # What is not equal to itself has an identity that shows (see `messages`).
    if floats and math.isnan(sum(floats)) and any(map(math.isnan, floats)):
        return 0
    if kinds == {float}:
        return 5
    whole = items if kinds == {int} else [item for item in items if type(item) is int]
    bits = max(max(whole), ~min(whole)).bit_length()
    if bits >= len(_FORMS):
        return 0
    return MIXED if floats else _FORMS[bits]


def _packed(numbers: Sequence[Any], code: str) -> bytes:
    return struct.pack(f">{len(numbers)}{code}", *numbers)


def _mixed(items: Sequence[Any]) -> bytes:
    floats = [item for item in items if type(item) is float]
    whole = [item for item in items if type(item) is int]
    return bytes(type(i) is float for i in items) + _packed(whole, "q") + _packed(floats, "d")


def _int(value: int) -> bytes:
    payload = value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
    return b"i" + U32.pack(len(payload)) + payload


def _str(value: str) -> bytes:
    payload = str.encode(value, "utf-8", "surrogatepass")
    return b"s" + U32.pack(len(payload)) + payload


LEAVES: Final[dict[type, Callable[[Any], bytes]]] = {
    type(None): lambda _: b"N",
    bool: lambda value: b"T" if value else b"F",
    int: _int,
    str: _str,
}
"""What most values are in the end, by exact type."""


def _name(kind: type) -> str:
    return str(type.__dict__["__name__"].__get__(kind))[:80]


def _put_int(out: Encoder, value: Any, _: int) -> None:
    out.write(_int(int.__int__(value)))


def _put_float(out: Encoder, value: Any, _: int) -> None:
    out.write(b"f" + F64.pack(float.__float__(value)))


def _put_complex(out: Encoder, value: Any, _: int) -> None:
    real = complex.__dict__["real"].__get__(value)
    imag = complex.__dict__["imag"].__get__(value)
    out.write(b"c" + F64.pack(real) + F64.pack(imag))


def _put_str(out: Encoder, value: Any, _: int) -> None:
    out.write(_str(value))


def _put_bytes(out: Encoder, value: Any, _: int) -> None:
    out.write_sized(b"b", bytes.__getitem__(value, slice(None)))


def _put_bytearray(out: Encoder, value: Any, _: int) -> None:
    out.write_sized(b"B", bytes(bytearray.__getitem__(value, slice(None))))


def _put_deque(out: Encoder, value: Any, depth: int) -> None:
    maxlen = deque.__dict__["maxlen"].__get__(value)
    out.write(b"q")
    out.put(maxlen, depth + 1)
    out.write_items(b"l", list(deque.__iter__(value)), depth)


def _put_pairs(tag: bytes) -> Callable[[Encoder, Any, int], None]:
    def put(out: Encoder, value: Any, depth: int) -> None:
        items = list(dict.items(value))
        out.count_keys(len(items))
        out.write(tag + U32.pack(len(items)))
        for key, item in items:
            out.put(key, depth + 1)
            out.put(item, depth + 1)

    return put


def _put_items(tag: bytes, iterate: Callable[[Any], Iterator[Any]]) -> Any:
    def put(out: Encoder, value: Any, depth: int) -> None:
        out.write_items(tag, list(iterate(value)), depth)

    return put


def _put_keys(tag: bytes, iterate: Callable[[Any], Iterator[Any]]) -> Any:
    def put(out: Encoder, value: Any, depth: int) -> None:
        items = list(iterate(value))
        out.count_keys(len(items))
        out.write_items(tag, items, depth)

    return put


def _put_iterator(out: Encoder, value: Any, depth: int) -> None:
    # Draining runs the program's code, but this is the program's own process.
    room = out.bounds.nodes - out.nodes
    items = []
    for item in value:
        items.append(item)
        if len(items) > room:
            raise EncodeError("an iterator yields too many values")
    out.write_items(b"I", items, depth)


def _put_fraction(out: Encoder, value: Any, depth: int) -> None:
    numerator = Fraction.__dict__["_numerator"].__get__(value)
    denominator = Fraction.__dict__["_denominator"].__get__(value)
    if max(abs(numerator), denominator).bit_length() > 8 * FRACTION_BYTES:
        raise EncodeError("a fraction is too large")
    out.write(b"r")
    out.put(numerator, depth + 1)
    out.put(denominator, depth + 1)


def _put_decimal(out: Encoder, value: Any, _: int) -> None:
    text = Decimal.__str__(value)
    if len(text) > DECIMAL_CHARS:
        raise EncodeError("a decimal is too long")
    out.write_sized(b"m", text.encode())


def _put_range(out: Encoder, value: Any, depth: int) -> None:
    out.write(b"R")
    for part in (value.start, value.stop, value.step):
        out.put(part, depth + 1)


def _put_slice(out: Encoder, value: Any, depth: int) -> None:
    out.write(b"L")
    for part in (value.start, value.stop, value.step):
        out.put(part, depth + 1)


def _check_zone(zone: object) -> None:
    # A fixed offset without a name is all that the text form says.
    if zone is None:
        return
    if type(zone) is not timezone or len(timezone.__getinitargs__(zone)) > 1:  # type: ignore[attr-defined]
        raise EncodeError("a time of a named time zone cannot be carried over")


def _put_datetime(out: Encoder, value: Any, _: int) -> None:
    _check_zone(datetime.__dict__["tzinfo"].__get__(value))
    out.write_sized(b"D", datetime.isoformat(value).encode())


def _put_date(out: Encoder, value: Any, _: int) -> None:
    out.write_sized(b"Y", date.isoformat(value).encode())


def _put_time(out: Encoder, value: Any, _: int) -> None:
    _check_zone(time.__dict__["tzinfo"].__get__(value))
    out.write_sized(b"H", time.isoformat(value).encode())


def _put_timedelta(out: Encoder, value: Any, depth: int) -> None:
    out.write(b"d")
    for part in ("days", "seconds", "microseconds"):
        out.put(timedelta.__dict__[part].__get__(value), depth + 1)


def _put_parts(out: Encoder, parts: Parts, depth: int) -> None:
    out.write(b"A")
    for part in parts:
        out.put(part, depth + 1)


def _nothing() -> Iterator[Any]:
    yield from ()


_ITERATORS: Final[tuple[type, ...]] = (
    type(_nothing()),
    map,
    filter,
    zip,
    enumerate,
    reversed,
    type(iter([])),
    type(iter(())),
    type(iter("")),
    type(iter(range(0))),
    type(iter({})),
    type(iter({}.values())),
    type(iter({}.items())),
    type(iter(set())),
    type(reversed([])),
)

WRITERS: Final[dict[type, Callable[[Encoder, Any, int], None]]] = {
    type(Ellipsis): lambda out, _value, _depth: out.write(b"E"),
    int: _put_int,
    float: _put_float,
    complex: _put_complex,
    str: _put_str,
    bytes: _put_bytes,
    bytearray: _put_bytearray,
    list: _put_items(b"l", list.__iter__),
    tuple: _put_items(b"t", tuple.__iter__),
    set: _put_keys(b"S", set.__iter__),
    frozenset: _put_keys(b"Z", frozenset.__iter__),
    deque: _put_deque,
    dict: _put_pairs(b"o"),
    type({}.keys()): _put_keys(b"k", iter),
    type({}.values()): _put_items(b"v", iter),
    type({}.items()): lambda out, value, depth: _put_pairs(b"w")(out, dict(value), depth),
    range: _put_range,
    slice: _put_slice,
    Fraction: _put_fraction,
    Decimal: _put_decimal,
    datetime: _put_datetime,
    date: _put_date,
    time: _put_time,
    timedelta: _put_timedelta,
    **dict.fromkeys(_ITERATORS, _put_iterator),
}
