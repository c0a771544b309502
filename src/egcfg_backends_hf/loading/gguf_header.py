"""Reads what the header of a GGUF file says, without the vocabulary and without the package `gguf`.

A vocabulary's arrays are stepped over: tools that rewrite a file put what they change behind them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from attrs import frozen

__all__ = ["MAGIC", "GGUFHeader", "read_header"]

MAGIC = b"GGUF"

START = struct.Struct("<4sIQQ")
LENGTH = struct.Struct("<Q")
KIND = struct.Struct("<I")
ARRAY_START = struct.Struct("<IQ")

NUMBERS = {
    kind: struct.Struct("<" + form)
    for kind, form in enumerate(("B", "b", "H", "h", "I", "i", "f", "?", "", "", "Q", "q", "d"))
    if form
}
"""GGUF's types of numbers."""

STRING, ARRAY = 8, 9

MOST = 2**24
"""Values of a header, strings of an array and bytes of a string: more are no header's, and would
take long to step over."""

BROKEN = (struct.error, KeyError, OverflowError)
"""What reading a file raises that ends too soon, or that is of another kind than it says."""


@frozen
class GGUFHeader:
    """The header of a GGUF file.

    Attributes:
        tensors: how many tensors the file has; None: it ends before it says so.
        values: its numbers and strings by name, but for arrays; of a file that ends within its
            header, those before the end.
    """

    tensors: int | None
    values: Mapping[str, Any]


def read_header(file: Path) -> GGUFHeader:
    """Return what the header of a file says; large vocabularies take tens of milliseconds, once.

    Raises:
        OSError: the file cannot be read.
    """
    found = file.stat()
    return _read(file, found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=8)  # a model's name is asked for all the time
def _read(file: Path, _inode: int, size: int, _changed: int) -> GGUFHeader:
    if size < START.size:
        return GGUFHeader(None, {})
    values: dict[str, Any] = {}
    with file.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as content:
        _magic, _version, tensors, count = START.unpack_from(content)
        with suppress(*BROKEN):  # whoever loads a file that is cut off says so
            values.update(_values(content, min(count, MOST)))
    return GGUFHeader(tensors, values)


def _values(content: mmap, count: int) -> Iterator[tuple[str, Any]]:
    place = START.size
    for _ in range(count):
        name, place = _string(content, place)
        [kind] = KIND.unpack_from(content, place)
        place += KIND.size
        if kind == ARRAY:
            place = _end_of_array(content, place)
        elif kind == STRING:
            value, place = _string(content, place)
            yield name, value
        else:
            [number] = NUMBERS[kind].unpack_from(content, place)
            place += NUMBERS[kind].size
            yield name, number


def _end_of_array(content: mmap, place: int) -> int:
    kind, length = ARRAY_START.unpack_from(content, place)
    place += ARRAY_START.size
    if kind != STRING:
        return place + int(length) * NUMBERS[kind].size
    if length > MOST:
        raise struct.error("no array is that long")
    for _ in range(length):
        place += LENGTH.size + LENGTH.unpack_from(content, place)[0]
    return place


def _string(content: mmap, place: int) -> tuple[str, int]:
    [length] = LENGTH.unpack_from(content, place)
    start, end = place + LENGTH.size, place + LENGTH.size + length
    if length > MOST or end > len(content):
        raise struct.error("no string is that long")
    return content[start:end].decode("utf-8", errors="replace"), end
