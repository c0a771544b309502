"""How large a carried value may be, and the errors and byte layouts that both directions share."""

from __future__ import annotations

import struct
from typing import Final

__all__ = [
    "COLLISIONS",
    "DECIMAL_CHARS",
    "DEFAULT",
    "F64",
    "FRACTION_BYTES",
    "MIXED",
    "PACKED",
    "PACKED_SHIFT",
    "U32",
    "WAITS",
    "Bounds",
    "CollisionError",
    "DecodeError",
    "EncodeError",
]


class EncodeError(Exception):
    """A value that cannot be carried over; the message says why."""


class DecodeError(Exception):
    """Bytes that are not one well-formed value within bounds."""


class CollisionError(DecodeError):
    """So many keys of one set or dict share their hash that it would take too long to build it."""


class Bounds:
    """How large a value may be.

    Attributes:
        size: encoded bytes.
        nodes: values, containers included; numbers that are packed are not counted.
        depth: containers inside containers.
        keys: entries of sets and dicts, all together.
    """

    __slots__ = ("depth", "keys", "nodes", "size")

    def __init__(
        self,
        size: int = 32 << 20,
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
# So many keys of one set or dict may have one hash: honest ones hardly ever share theirs. Where
# more do, each waits for all before it, and so many waits there may be.
COLLISIONS: Final = 50
WAITS: Final = 1_000_000

U32: Final = struct.Struct(">I")
F64: Final = struct.Struct(">d")
# Several numbers of one type are packed without tags: codes of `struct`, by the upper bits of their
# count. Integers among floats come after a byte for each number, which says whether it is a float.
PACKED: Final = {1: "b", 2: "h", 3: "i", 4: "q", 5: "d"}
MIXED: Final = 6
PACKED_SHIFT: Final = 28
