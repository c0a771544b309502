"""Bytes of a hostile process to plain values: total, and within bounds (see `codec`)."""

from __future__ import annotations

import operator
import struct
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from typing import Any, Final

from .arrays import from_parts
from .bounds import (
    COLLISIONS,
    DECIMAL_CHARS,
    DEFAULT,
    F64,
    FRACTION_BYTES,
    MIXED,
    PACKED,
    PACKED_SHIFT,
    U32,
    WAITS,
    Bounds,
    CollisionError,
    DecodeError,
)

__all__ = ["MALFORMED", "READERS", "Decoder", "by_tag", "decode"]

MALFORMED: Final = (ValueError, TypeError, ArithmeticError, LookupError, struct.error)
"""What reading bytes that are no value ends in, beside a `DecodeError`."""


def decode(data: bytes, bounds: Bounds = DEFAULT) -> Any:
    """Return the value that `data` holds.

    Raises:
        DecodeError: `data` is anything but exactly one well-formed value within `bounds`.
    """
    if len(data) > bounds.size:
        raise DecodeError(f"{len(data)} bytes exceed {bounds.size}")
    decoder = Decoder(data, bounds)
    value = decoder.get(0)
    if decoder.position != len(data):
        raise DecodeError(f"{len(data) - decoder.position} bytes after the value")
    return value


class Decoder:
    """One decoding at work: what is read, how far, and how much of the bounds it took."""

    readers: Mapping[int, Callable[[Any, int], Any]]

    def __init__(self, data: bytes, bounds: Bounds) -> None:
        self.data = data
        self.bounds = bounds
        self.position = 0
        self.nodes = 0
        self.keys = 0

    def get(self, depth: int) -> Any:
        """Read a value."""
        self.nodes += 1
        if self.nodes > self.bounds.nodes:
            raise DecodeError("too many values")
        # One more than the encoder's: a view or a deque holds a container of its own.
        if depth > self.bounds.depth + 1:
            raise DecodeError("nested too deep")
        try:
            tag = self.data[self.position]
            self.position += 1
            return self.readers[tag](self, depth)
        except MALFORMED as error:
            at = self.position
            raise DecodeError(f"malformed value at {at}: {type(error).__name__}") from error

    def take(self, count: int) -> bytes:
        """Read bytes."""
        piece = self.data[self.position : self.position + count]
        self.position += count
        if len(piece) < count:
            raise DecodeError("cut off")
        return piece

    def count(self) -> int:
        """Read a number of things."""
        number: int = U32.unpack_from(self.data, self.position)[0]
        self.position += U32.size
        return number

    def sized(self) -> bytes:
        """Read bytes after their number."""
        (count,) = U32.unpack_from(self.data, self.position)
        self.position += U32.size + count
        piece = self.data[self.position - count : self.position]
        if len(piece) < count:
            raise DecodeError("cut off")
        return piece

    def items(self, depth: int) -> list[Any]:
        """Read values after their number."""
        count = self.count()
        if count >> PACKED_SHIFT:
            return self._packed(*divmod(count, 1 << PACKED_SHIFT))
        # Every value takes at least one byte, so a count beyond them is a lie.
        if count > len(self.data) - self.position:
            raise DecodeError("cut off")
        depth += 1
        return [self.get(depth) for _ in range(count)]

    def _packed(self, form: int, count: int) -> list[Any]:
        if form == MIXED:
            return self._mixed(count)
        if form not in PACKED:
            raise DecodeError("packed as nothing is")
        code = f">{count}{PACKED[form]}"
        return list(struct.unpack(code, self.take(struct.calcsize(code))))

    def _mixed(self, count: int) -> list[Any]:
        floats = self.take(count)
        if floats.count(0) + floats.count(1) < count:
            raise DecodeError("a float or an integer expected")
        numbers = [iter(self._packed(4, floats.count(0))), iter(self._packed(5, floats.count(1)))]
        return [next(numbers[which]) for which in floats]

    def keyed(self, items: Iterable[Any]) -> list[Any]:
        """Return the keys of a set or a dict, after a look at what it costs to build it."""
        listed = list(items)
        self.keys += len(listed)
        if self.keys > self.bounds.keys:
            raise DecodeError("too many keys")
        hashes = sorted(map(hash, listed))
        # Whoever chooses keys of one hash makes each wait for all before it. Equal neighbours at
        # this distance are that many keys of one hash.
        if any(map(operator.eq, hashes, hashes[COLLISIONS:])) and _waits(hashes) > WAITS:
            raise CollisionError("too many keys of the same hash in a set or dict")
        return listed

    def pairs(self, depth: int) -> list[tuple[Any, Any]]:
        """Read the entries of a dict after their number."""
        count = self.count()
        if count > len(self.data) - self.position:
            raise DecodeError("cut off")
        pairs = [(self.get(depth + 1), self.get(depth + 1)) for _ in range(count)]
        self.keyed(key for key, _ in pairs)
        return pairs

    def exact(self, kind: type, depth: int) -> Any:
        """Read a value that must be of one type."""
        value = self.get(depth + 1)
        if type(value) is not kind:
            raise DecodeError(f"{kind.__name__} expected")
        return value


def _waits(hashes: list[int]) -> int:
    """Return how often a key is compared with another one of its hash; `hashes` are sorted."""
    counts = (len(list(group)) for _, group in groupby(hashes))
    return sum(count * (count - 1) // 2 for count in counts)


def _get_int(data: Decoder, _: int) -> int:
    payload = data.sized()
    if not payload:
        raise DecodeError("an integer without digits")
    return int.from_bytes(payload, "big", signed=True)


def _get_str(data: Decoder, _: int) -> str:
    return data.sized().decode("utf-8", "surrogatepass")


def _get_tuple(data: Decoder, depth: int) -> tuple[Any, ...]:
    return tuple(data.items(depth))


def _get_deque(data: Decoder, depth: int) -> deque[Any]:
    maxlen = data.get(depth + 1)
    if not (maxlen is None or type(maxlen) is int):
        raise DecodeError("a deque's length expected")
    return deque(data.exact(list, depth - 1), maxlen)


def _get_fraction(data: Decoder, depth: int) -> Fraction:
    numerator, denominator = data.exact(int, depth), data.exact(int, depth)
    if max(abs(numerator), abs(denominator)).bit_length() > 8 * FRACTION_BYTES:
        raise DecodeError("a fraction is too large")
    return Fraction(numerator, denominator)


def _get_decimal(data: Decoder, _: int) -> Decimal:
    payload = data.sized()
    if len(payload) > DECIMAL_CHARS:
        raise DecodeError("a decimal is too long")
    return Decimal(payload.decode("ascii"))


def _get_array(data: Decoder, depth: int) -> Any:
    return from_parts(*(data.get(depth + 1) for _ in range(3)))


def _get_range(data: Decoder, depth: int) -> range:
    return range(*(data.exact(int, depth) for _ in range(3)))


def _get_timedelta(data: Decoder, depth: int) -> timedelta:
    days, seconds, microseconds = (data.exact(int, depth) for _ in range(3))
    return timedelta(days=days, seconds=seconds, microseconds=microseconds)


READERS: Final[dict[bytes, Callable[[Any, int], Any]]] = {
    b"N": lambda _data, _depth: None,
    b"E": lambda _data, _depth: Ellipsis,
    b"T": lambda _data, _depth: True,
    b"F": lambda _data, _depth: False,
    b"i": _get_int,
    b"f": lambda data, _: F64.unpack(data.take(8))[0],
    b"c": lambda data, _: complex(F64.unpack(data.take(8))[0], F64.unpack(data.take(8))[0]),
    b"s": _get_str,
    b"b": lambda data, _: data.sized(),
    b"B": lambda data, _: bytearray(data.sized()),
    b"l": lambda data, depth: data.items(depth),
    b"t": _get_tuple,
    b"S": lambda data, depth: set(data.keyed(data.items(depth))),
    b"Z": lambda data, depth: frozenset(data.keyed(data.items(depth))),
    b"q": _get_deque,
    b"o": lambda data, depth: dict(data.pairs(depth)),
    b"k": lambda data, depth: dict.fromkeys(data.keyed(data.items(depth))).keys(),
    b"v": lambda data, depth: dict(enumerate(data.items(depth))).values(),
    b"w": lambda data, depth: dict(data.pairs(depth)).items(),
    b"I": lambda data, depth: iter(data.items(depth)),
    b"A": _get_array,
    b"R": _get_range,
    b"L": lambda data, depth: slice(*(data.get(depth + 1) for _ in range(3))),
    b"r": _get_fraction,
    b"m": _get_decimal,
    b"D": lambda data, _: datetime.fromisoformat(data.sized().decode("ascii")),
    b"Y": lambda data, _: date.fromisoformat(data.sized().decode("ascii")),
    b"H": lambda data, _: time.fromisoformat(data.sized().decode("ascii")),
    b"d": _get_timedelta,
}


def by_tag(
    readers: Mapping[bytes, Callable[[Any, int], Any]],
) -> dict[int, Callable[[Any, int], Any]]:
    """Return readers by the number that their tag is among bytes."""
    return {tag[0]: reader for tag, reader in readers.items()}


Decoder.readers = by_tag(READERS)
