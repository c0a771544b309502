"""Plain values as bytes and back: bounded, total, and deaf to the program's own classes.

Encoding reduces instances of subclasses to the builtin value beneath, by the builtin's own methods,
so that a program's ``__eq__``, ``__repr__`` or ``__reduce__`` never travels. Decoding makes exact
builtin types only and raises `DecodeError` for whatever is not a well-formed value within bounds:
the bytes come from a hostile process. Never pickle, marshal or eval.

Carried: None, bool, int, float, complex, str (lone surrogates too), bytes, bytearray, list, tuple,
set, frozenset, dict, range, deque, Fraction, Decimal, Ellipsis; the standard library's dates
and times without a time zone; dict views; and iterators, drained into a plain iterator.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

__all__ = ["Bounds", "DecodeError", "EncodeError", "decode", "encode"]


class EncodeError(Exception):
    """A value that cannot be carried over; the message says why."""


class DecodeError(Exception):
    """Bytes that are not one well-formed value within bounds."""


class Bounds:
    """How large a value may be.

    Attributes:
        size: encoded bytes.
        nodes: values, containers included.
        depth: containers inside containers.
        keys: entries of sets and dicts, all together: their hashes are the sender's choice, so
            the time to build them can grow with the square of this.
    """

    __slots__ = ("depth", "keys", "nodes", "size")

    def __init__(
        self,
        size: int = 8 << 20,
        nodes: int = 1_000_000,
        depth: int = 100,
        keys: int = 200_000,
    ) -> None:
        self.size = size
        self.nodes = nodes
        self.depth = depth
        self.keys = keys


DEFAULT: Final = Bounds()
# The greatest common divisor of hostile numbers costs the square of their length.
FRACTION_BYTES: Final = 4096
DECIMAL_CHARS: Final = 10_000

_U32: Final = struct.Struct(">I")
_F64: Final = struct.Struct(">d")


def encode(value: object, bounds: Bounds = DEFAULT) -> bytes:
    """Return `value` as bytes.

    Raises:
        EncodeError: it holds something that cannot be carried, or is too large, deep or cyclic.
    """
    encoder = _Encoder(bounds)
    encoder.put(value, 0)
    return b"".join(encoder.parts)


def decode(data: bytes, bounds: Bounds = DEFAULT) -> Any:
    """Return the value that `data` holds.

    Raises:
        DecodeError: `data` is anything but exactly one well-formed value within `bounds`.
    """
    if len(data) > bounds.size:
        raise DecodeError(f"{len(data)} bytes exceed {bounds.size}")
    decoder = _Decoder(data, bounds)
    value = decoder.get(0)
    if decoder.position != len(data):
        raise DecodeError(f"{len(data) - decoder.position} bytes after the value")
    return value


class _Encoder:
    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.parts: list[bytes] = []
        self.size = 0
        self.nodes = 0

    def put(self, value: object, depth: int) -> None:
        self.nodes += 1
        if self.nodes > self.bounds.nodes:
            raise EncodeError(f"more than {self.bounds.nodes} values")
        if depth > self.bounds.depth:
            raise EncodeError(f"nested deeper than {self.bounds.depth}, or in itself")
        kind = type(value)
        for base in kind.__mro__:
            writer = _WRITERS.get(base)
            if writer is not None:
                writer(self, value, depth)
                return
        raise EncodeError(f"a value of type {_name(kind)} cannot be carried over")

    def write(self, tag: bytes, payload: bytes = b"") -> None:
        self.size += 1 + len(payload)
        if self.size > self.bounds.size:
            raise EncodeError(f"more than {self.bounds.size} bytes")
        self.parts.append(tag)
        if payload:
            self.parts.append(payload)

    def write_sized(self, tag: bytes, payload: bytes) -> None:
        self.write(tag, _U32.pack(len(payload)) + payload)

    def write_items(self, tag: bytes, items: list[Any], depth: int) -> None:
        self.write(tag, _U32.pack(len(items)))
        for item in items:
            self.put(item, depth + 1)


def _name(kind: type) -> str:
    return str(type.__dict__["__name__"].__get__(kind))[:80]


def _int_bytes(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _put_bool(out: _Encoder, value: Any, _: int) -> None:
    out.write(b"T" if value is True else b"F")


def _put_int(out: _Encoder, value: Any, _: int) -> None:
    plain = int.__int__(value)
    if plain.bit_length() > 8 * out.bounds.size:
        raise EncodeError("an integer is too large")
    out.write_sized(b"i", _int_bytes(plain))


def _put_float(out: _Encoder, value: Any, _: int) -> None:
    out.write(b"f", _F64.pack(float.__float__(value)))


def _put_complex(out: _Encoder, value: Any, _: int) -> None:
    real = complex.__dict__["real"].__get__(value)
    imag = complex.__dict__["imag"].__get__(value)
    out.write(b"c", _F64.pack(real) + _F64.pack(imag))


def _put_str(out: _Encoder, value: Any, _: int) -> None:
    out.write_sized(b"s", str.encode(value, "utf-8", "surrogatepass"))


def _put_bytes(out: _Encoder, value: Any, _: int) -> None:
    out.write_sized(b"b", bytes.__getitem__(value, slice(None)))


def _put_bytearray(out: _Encoder, value: Any, _: int) -> None:
    out.write_sized(b"B", bytes(bytearray.__getitem__(value, slice(None))))


def _put_deque(out: _Encoder, value: Any, depth: int) -> None:
    maxlen = deque.__dict__["maxlen"].__get__(value)
    out.write(b"q")
    out.put(maxlen, depth + 1)
    out.write_items(b"l", list(deque.__iter__(value)), depth)


def _put_pairs(tag: bytes) -> Callable[[_Encoder, Any, int], None]:
    def put(out: _Encoder, value: Any, depth: int) -> None:
        items = list(dict.items(value))
        out.write(tag, _U32.pack(len(items)))
        for key, item in items:
            out.put(key, depth + 1)
            out.put(item, depth + 1)

    return put


def _put_items(tag: bytes, iterate: Callable[[Any], Iterator[Any]]) -> Any:
    def put(out: _Encoder, value: Any, depth: int) -> None:
        out.write_items(tag, list(iterate(value)), depth)

    return put


def _put_iterator(out: _Encoder, value: Any, depth: int) -> None:
    # Draining runs the program's code, but this is the program's own process.
    room = out.bounds.nodes - out.nodes
    items = []
    for item in value:
        items.append(item)
        if len(items) > room:
            raise EncodeError("an iterator yields too many values")
    out.write_items(b"I", items, depth)


def _put_fraction(out: _Encoder, value: Any, depth: int) -> None:
    numerator = Fraction.__dict__["_numerator"].__get__(value)
    denominator = Fraction.__dict__["_denominator"].__get__(value)
    if max(abs(numerator), denominator).bit_length() > 8 * FRACTION_BYTES:
        raise EncodeError("a fraction is too large")
    out.write(b"r")
    out.put(numerator, depth + 1)
    out.put(denominator, depth + 1)


def _put_decimal(out: _Encoder, value: Any, _: int) -> None:
    text = Decimal.__str__(value)
    if len(text) > DECIMAL_CHARS:
        raise EncodeError("a decimal is too long")
    out.write_sized(b"m", text.encode())


def _put_range(out: _Encoder, value: Any, depth: int) -> None:
    out.write(b"R")
    for part in (value.start, value.stop, value.step):
        out.put(part, depth + 1)


def _put_datetime(out: _Encoder, value: Any, _: int) -> None:
    if datetime.__dict__["tzinfo"].__get__(value) is not None:
        raise EncodeError("a datetime with a time zone cannot be carried over")
    out.write_sized(b"D", datetime.isoformat(value).encode())


def _put_date(out: _Encoder, value: Any, _: int) -> None:
    out.write_sized(b"Y", date.isoformat(value).encode())


def _put_time(out: _Encoder, value: Any, _: int) -> None:
    if time.__dict__["tzinfo"].__get__(value) is not None:
        raise EncodeError("a time with a time zone cannot be carried over")
    out.write_sized(b"H", time.isoformat(value).encode())


def _put_timedelta(out: _Encoder, value: Any, depth: int) -> None:
    out.write(b"d")
    for part in ("days", "seconds", "microseconds"):
        out.put(timedelta.__dict__[part].__get__(value), depth + 1)


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

_WRITERS: Final[dict[type, Callable[[_Encoder, Any, int], None]]] = {
    type(None): lambda out, _value, _depth: out.write(b"N"),
    type(Ellipsis): lambda out, _value, _depth: out.write(b"E"),
    bool: _put_bool,
    int: _put_int,
    float: _put_float,
    complex: _put_complex,
    str: _put_str,
    bytes: _put_bytes,
    bytearray: _put_bytearray,
    list: _put_items(b"l", list.__iter__),
    tuple: _put_items(b"t", tuple.__iter__),
    set: _put_items(b"S", set.__iter__),
    frozenset: _put_items(b"Z", frozenset.__iter__),
    deque: _put_deque,
    dict: _put_pairs(b"o"),
    type({}.keys()): _put_items(b"k", iter),
    type({}.values()): _put_items(b"v", iter),
    type({}.items()): lambda out, value, depth: _put_pairs(b"w")(out, dict(value), depth),
    range: _put_range,
    Fraction: _put_fraction,
    Decimal: _put_decimal,
    datetime: _put_datetime,
    date: _put_date,
    time: _put_time,
    timedelta: _put_timedelta,
    **dict.fromkeys(_ITERATORS, _put_iterator),
}


class _Decoder:
    def __init__(self, data: bytes, bounds: Bounds) -> None:
        self.data = data
        self.bounds = bounds
        self.position = 0
        self.nodes = 0
        self.keys = 0

    def get(self, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > self.bounds.nodes:
            raise DecodeError("too many values")
        # One more than the encoder's: a view or a deque holds a container of its own.
        if depth > self.bounds.depth + 1:
            raise DecodeError("nested too deep")
        tag = self.take(1)
        reader = _READERS.get(tag)
        if reader is None:
            raise DecodeError(f"no value starts with {tag!r}")
        try:
            return reader(self, depth)
        except (ValueError, TypeError, ArithmeticError, OverflowError) as error:
            raise DecodeError(f"malformed value after {tag!r}: {type(error).__name__}") from error

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise DecodeError("cut off")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def count(self) -> int:
        (number,) = _U32.unpack(self.take(4))
        return int(number)

    def sized(self) -> bytes:
        return self.take(self.count())

    def items(self, depth: int) -> list[Any]:
        count = self.count()
        # Every value takes at least one byte, so a count beyond them is a lie.
        if count > len(self.data) - self.position:
            raise DecodeError("cut off")
        return [self.get(depth + 1) for _ in range(count)]

    def keyed(self, items: Iterable[Any]) -> list[Any]:
        listed = list(items)
        self.keys += len(listed)
        if self.keys > self.bounds.keys:
            raise DecodeError("too many keys")
        return listed

    def pairs(self, depth: int) -> dict[Any, Any]:
        count = self.count()
        self.keyed(range(min(count, self.bounds.keys + 1)))
        return {self.get(depth + 1): self.get(depth + 1) for _ in range(count)}

    def exact(self, kind: type, depth: int) -> Any:
        value = self.get(depth + 1)
        if type(value) is not kind:
            raise DecodeError(f"{kind.__name__} expected")
        return value


def _get_int(data: _Decoder, _: int) -> int:
    payload = data.sized()
    if not payload:
        raise DecodeError("an integer without digits")
    return int.from_bytes(payload, "big", signed=True)


def _get_deque(data: _Decoder, depth: int) -> deque[Any]:
    maxlen = data.get(depth + 1)
    if not (maxlen is None or type(maxlen) is int):
        raise DecodeError("a deque's length expected")
    return deque(data.exact(list, depth - 1), maxlen)


def _get_fraction(data: _Decoder, depth: int) -> Fraction:
    numerator, denominator = data.exact(int, depth), data.exact(int, depth)
    if max(abs(numerator), abs(denominator)).bit_length() > 8 * FRACTION_BYTES:
        raise DecodeError("a fraction is too large")
    return Fraction(numerator, denominator)


def _get_decimal(data: _Decoder, _: int) -> Decimal:
    payload = data.sized()
    if len(payload) > DECIMAL_CHARS:
        raise DecodeError("a decimal is too long")
    return Decimal(payload.decode("ascii"))


def _get_range(data: _Decoder, depth: int) -> range:
    return range(*(data.exact(int, depth) for _ in range(3)))


def _get_timedelta(data: _Decoder, depth: int) -> timedelta:
    days, seconds, microseconds = (data.exact(int, depth) for _ in range(3))
    return timedelta(days=days, seconds=seconds, microseconds=microseconds)


_READERS: Final[dict[bytes, Callable[[_Decoder, int], Any]]] = {
    b"N": lambda _data, _depth: None,
    b"E": lambda _data, _depth: Ellipsis,
    b"T": lambda _data, _depth: True,
    b"F": lambda _data, _depth: False,
    b"i": _get_int,
    b"f": lambda data, _: _F64.unpack(data.take(8))[0],
    b"c": lambda data, _: complex(_F64.unpack(data.take(8))[0], _F64.unpack(data.take(8))[0]),
    b"s": lambda data, _: data.sized().decode("utf-8", "surrogatepass"),
    b"b": lambda data, _: data.sized(),
    b"B": lambda data, _: bytearray(data.sized()),
    b"l": lambda data, depth: data.items(depth),
    b"t": lambda data, depth: tuple(data.items(depth)),
    b"S": lambda data, depth: set(data.keyed(data.items(depth))),
    b"Z": lambda data, depth: frozenset(data.keyed(data.items(depth))),
    b"q": _get_deque,
    b"o": lambda data, depth: data.pairs(depth),
    b"k": lambda data, depth: dict.fromkeys(data.keyed(data.items(depth))).keys(),
    b"v": lambda data, depth: dict(enumerate(data.items(depth))).values(),
    b"w": lambda data, depth: data.pairs(depth).items(),
    b"I": lambda data, depth: iter(data.items(depth)),
    b"R": _get_range,
    b"r": _get_fraction,
    b"m": _get_decimal,
    b"D": lambda data, _: datetime.fromisoformat(data.sized().decode("ascii")),
    b"Y": lambda data, _: date.fromisoformat(data.sized().decode("ascii")),
    b"H": lambda data, _: time.fromisoformat(data.sized().decode("ascii")),
    b"d": _get_timedelta,
}
