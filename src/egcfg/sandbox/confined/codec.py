"""Plain values as bytes and back: bounded, total, and deaf to the program's own classes.

Encoding reduces instances of subclasses to the builtin value beneath, by the builtin's own methods,
so that a program's ``__eq__``, ``__repr__`` or ``__reduce__`` never travels. Decoding makes exact
builtin types only and raises `DecodeError` for whatever is not a well-formed value within bounds:
the bytes come from a hostile process. Never pickle, marshal or eval.

Carried: None, bool, int, float, complex, str (lone surrogates too), bytes, bytearray, list, tuple,
set, frozenset, dict, range, deque, Fraction, Decimal, Ellipsis; the standard library's dates
and times, with an offset at most; dict views; iterators, drained into a plain iterator; and numpy's
arrays and scalars but for those of objects, records and masks. What a test and a program say to
each other goes further: see `messages`.
"""

from __future__ import annotations

from .bounds import DEFAULT, Bounds, DecodeError, EncodeError
from .decoder import decode
from .encoder import encode

__all__ = ["DEFAULT", "Bounds", "DecodeError", "EncodeError", "decode", "encode"]
