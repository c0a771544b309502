"""numpy's arrays and scalars as plain parts, and back: shape, dtype and bytes; never a pickle.

A process that has not imported numpy holds none of them, so nothing is imported to take one apart.
To put one together numpy is imported, from where programs have it.
"""

from __future__ import annotations

import math
import re
import sys
from typing import Any

from .bounds import DecodeError, EncodeError

__all__ = ["content", "empty", "fill", "from_parts", "is_array", "is_scalar", "to_parts"]

# Booleans, numbers, bytes, text, dates and times: what is all there in its bytes.
DTYPE = re.compile(r"[<>|=](?:[biufcSU]\d{1,9}|[mM]8(?:\[\d{0,9}[A-Za-zμ]{1,2}\])?)")
MAX_CODE_POINT = 0x10FFFF

Parts = tuple[str, tuple[int, ...] | None, bytes]
"""dtype, shape (None for a scalar) and bytes in the order of C."""


def is_array(kind: type) -> bool:
    """Return whether instances of a class are arrays of numpy."""
    numpy: Any = sys.modules.get("numpy")
    return numpy is not None and issubclass(kind, numpy.ndarray)


def is_scalar(kind: type) -> bool:
    """Return whether instances of a class are scalars of numpy."""
    numpy: Any = sys.modules.get("numpy")
    return numpy is not None and issubclass(kind, numpy.generic)


def to_parts(value: object) -> Parts | None:
    """Return an array or scalar as its parts; None for any other value.

    An instance of a program's subclass is reduced to the array beneath.

    Raises:
        EncodeError: it holds objects or fields, or hides some of its items.
    """
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return None
    # By the type itself: an object's own word for its class may be another.
    kind = type(value)
    if issubclass(kind, numpy.ndarray):
        if issubclass(kind, numpy.ma.MaskedArray):
            raise EncodeError("a masked array cannot be carried over")
        array: Any = numpy.ndarray.__array__(value)
        shape: tuple[int, ...] | None = tuple(array.shape)
    elif issubclass(kind, numpy.generic):
        array, shape = numpy.asarray(value), None
    else:
        return None
    dtype = array.dtype.str
    if array.dtype.names is not None or not DTYPE.fullmatch(dtype):
        raise EncodeError(f"an array of dtype {array.dtype.name} cannot be carried over")
    return dtype, shape, numpy.ndarray.tobytes(array)


def from_parts(dtype: object, shape: object, data: object) -> Any:
    """Return an array, or a scalar, of its parts.

    Raises:
        DecodeError: they are none, or do not fit each other; or numpy is not there.
    """
    if type(dtype) is not str or type(data) is not bytes or not DTYPE.fullmatch(dtype):
        raise DecodeError("an array's parts expected")
    if not (shape is None or (type(shape) is tuple and all(type(n) is int for n in shape))):
        raise DecodeError("an array's shape expected")
    try:
        import numpy
    except ImportError as error:
        raise DecodeError("an array, and numpy is not there") from error
    try:
        kind = numpy.dtype(dtype)
        size = math.prod(shape or ())
        if kind.itemsize == 0 or min(shape or (0,)) < 0 or len(data) != size * kind.itemsize:
            raise DecodeError("an array's bytes are not as many as its shape says")
        array = numpy.frombuffer(bytearray(data), kind)
        _check_items(array, numpy)
        return array[0] if shape is None else array.reshape(shape)
    except (TypeError, ValueError) as error:
        raise DecodeError(f"malformed array: {error}") from error


def empty(dtype: object, shape: object, room: int) -> Any:
    """Return an array of zeros.

    Args:
        dtype: as in `Parts`.
        shape: as in `Parts`.
        room: how many bytes it may take.

    Raises:
        DecodeError: they are none of an array, or it takes more.
    """
    # An empty one first: it says how large an item is.
    item = from_parts(dtype, (0,), b"").itemsize
    if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape):
        raise DecodeError("an array's shape expected")
    if (size := item * math.prod(shape)) > room:
        raise DecodeError("an array is cut off")
    return from_parts(dtype, shape, bytes(size))


def content(array: object) -> list[bytes]:
    """Return what an array holds, after what says how to read it.

    Raises:
        EncodeError: as `to_parts`.
    """
    dtype, shape, data = to_parts(array) or ("", (), b"")
    return [f"{dtype}{shape}".encode(), data]


def fill(array: Any, items: list[Any]) -> None:
    """Give an array what another one of its dtype and shape holds.

    Raises:
        DecodeError: they are not its dtype and shape, or no bytes of it.
    """
    known, _ = content(array)
    form, data = items
    if form != known:
        raise DecodeError("an array cannot change its dtype and shape")
    import numpy

    new = from_parts(array.dtype.str, tuple(array.shape), data)
    numpy.ndarray.__setitem__(array, ..., new)


def _check_items(array: Any, numpy: Any) -> None:
    """See that no item is one that numpy itself would never make.

    Raises:
        DecodeError: one is.
    """
    if array.dtype.kind == "b" and array.view(numpy.uint8).max(initial=0) > 1:
        raise DecodeError("a truth value is neither true nor false")
    if array.dtype.kind == "U":
        points = numpy.frombuffer(array.tobytes(), numpy.dtype(f"{array.dtype.str[0]}u4"))
        if points.max(initial=0) > MAX_CODE_POINT:
            raise DecodeError("a character is none")
