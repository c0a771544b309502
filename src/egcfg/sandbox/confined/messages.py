"""Messages between a test and a program: values, and the objects that both of them know.

A message is a value, after the descriptions of classes that it is the first to mention, and what
the objects hold that are new or have changed since the last one (see `objects`). Beyond what
`codec` carries there are

- ``@``: an object by its number;
- ``#``: an object that is new and does not change, its layout, its class, and what is plain of it;
- ``G``: a class or function of the standard library by name, or a class that the setup code of the
  tests defines on both sides.

How values of other classes are taken is for each side to say (`Sender`, `Receiver`).
"""

from __future__ import annotations

import struct
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from . import arrays
from .bounds import DEFAULT, U32, Bounds, DecodeError, EncodeError
from .decoder import MALFORMED, READERS, Decoder, by_tag
from .encoder import LEAVES, WRITERS, Encoder
from .kinds import (
    ARRAY,
    ATTRIBUTES,
    CONTAINERS,
    EXCEPTION,
    FROZEN,
    IMMUTABLE,
    LAYOUTS,
    NANS,
    OPAQUE,
    PLAIN,
    SHARED_KINDS,
    content,
    fill,
    is_nan,
    name_of_nan,
)
from .objects import Objects

__all__ = ["ANSWER", "OBJECTS", "REQUEST", "Receiver", "Sender", "said", "shortened"]

OBJECTS: Final = 500_000
"""So many objects may be known at once."""
REQUEST: Final = ((), False, (), "")
"""What follows a request's operation and arguments, where it is nothing: then it is not sent."""
ANSWER: Final = ((), "", (), ())
"""What follows an answer's kind and content, where it is nothing."""
NUMBER: Final = struct.Struct(">q")
# How many classes are described, and how many objects change.
_NO_OBJECTS: Final = 2 * U32.pack(0)
_BUILTINS: Final = {layout: kind for kind, layout in CONTAINERS.items()}
_SHARED_CONTAINERS: Final = frozenset(
    kind for kind in SHARED_KINDS if any(issubclass(kind, base) for base in CONTAINERS)
)


def shortened(message: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a message without the parts at its end, after the second, that say nothing."""
    end = len(message)
    while end > 2 and not message[end - 1]:
        end -= 1
    return message[:end]


def said(message: Any, nothing: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a message with all of its parts.

    Raises:
        DecodeError: it is no message.
    """
    if type(message) is not tuple or not 2 <= len(message) <= 2 + len(nothing):
        raise DecodeError("a message expected")
    return (*message, *nothing[len(message) - 2 :])


class Sender(Encoder):
    """Writes one message. Each side says how it takes what has no plain form."""

    def __init__(self, objects: Objects, bounds: Bounds = DEFAULT) -> None:
        super().__init__(bounds)
        self.objects = objects
        self._classes: list[bytes] = []
        self._directory: list[bytes] = []
        self._queue: deque[tuple[int, str, list[Any]]] = deque()

    def message(self, value: object) -> bytes:
        """Return a message.

        Raises:
            EncodeError: `value` holds something that cannot be carried, or too much.
        """
        for number, items in self.objects.changed():
            self._enqueue(number, self.objects.layout(number), items, None)
        self.put(value, 0)
        while self._queue:
            number, layout, items = self._queue.popleft()
            if layout in "oS":
                self.count_keys(len(items) // (2 if layout == "o" else 1))
            self.write_items(b"", items, 0)
            self.objects.told(number, items)
        if len(self.objects) > OBJECTS:
            raise EncodeError(f"more than {OBJECTS} objects at once")
        if not self._directory and not self._classes:
            return b"".join((_NO_OBJECTS, *self.parts))
        counts = [U32.pack(len(section)) for section in (self._classes, self._directory)]
        return b"".join((counts[0], *self._classes, counts[1], *self._directory, *self.parts))

    def put(self, value: object, depth: int) -> None:
        """Write a value."""
        kind = type(value)
        if kind in PLAIN:
            self.enter(depth)
            if kind in NANS and is_nan(value):
                self._put_nan(value, kind, depth)
            elif (leaf := LEAVES.get(kind)) is not None:
                self.write(leaf(value))
            else:
                WRITERS[kind](self, value, depth)
            return
        number = self.objects.number(value)
        if number is not None:
            self.put_number(number)
            return
        if (builtin := CONTAINERS.get(kind)) is not None:
            self.enter(depth)
            self.put_mutable(value, builtin, None)
            return
        if arrays.is_scalar(kind):
            super().put(value, depth)
            return
        self.enter(depth)
        if arrays.is_array(kind):
            dtype, shape, _ = arrays.to_parts(value) or ("", (), b"")
            self.put_mutable(value, ARRAY, (dtype, shape))
        elif kind in _SHARED_CONTAINERS:
            layout = next(CONTAINERS[base] for base in kind.__mro__ if base in CONTAINERS)
            self.put_mutable(value, layout, kind)
        else:
            self.put_other(value, kind, depth)

    def _put_nan(self, value: object, kind: type, depth: int) -> None:
        """Write what is not equal to itself, so that its identity shows."""
        number = self.objects.number(value)
        if number is not None:
            self.put_number(number)
        elif (name := name_of_nan(value)) is not None:
            self.put_global(*name)
        else:
            self.put_fixed(value, IMMUTABLE, kind, (), depth)
            WRITERS[kind](self, value, depth + 1)

    @abstractmethod
    def put_other(self, value: Any, kind: type, depth: int) -> None:
        """Write a value that is neither plain nor known.

        Raises:
            EncodeError: this side cannot.
        """

    def put_number(self, number: int) -> None:
        """Write an object that both sides know."""
        self.write(b"@" + NUMBER.pack(number))

    def put_global(self, module: str, name: str) -> None:
        """Write what both sides have by name."""
        self.write_sized(b"G", f"{module}:{name}".encode("utf-8", "surrogatepass"))

    def put_mutable(self, value: object, layout: str, kind: object) -> None:
        """Write a new object that can change.

        Args:
            value: the object.
            layout: what it holds.
            kind: its class; None for the builtin one of the layout; of an array dtype and shape.
        """
        number = self.objects.add(value, layout)
        self.put_number(number)
        self._enqueue(number, layout, content(value, layout), kind)

    def put_fixed(
        self, value: object, layout: str, kind: object, parts: tuple[Any, ...], depth: int
    ) -> None:
        """Write a new object that does not change: its class, and what is plain of it."""
        number = self.objects.add(value, layout)
        self.write(b"#" + NUMBER.pack(number) + layout.encode())
        self.put(kind, depth + 1)
        for part in parts:
            self.put(part, depth + 1)

    def describe(self, number: int, description: tuple[Any, ...]) -> None:
        """Tell of a class, after those that its description mentions."""
        written = self._apart(lambda: self.put(description, 0))
        self._classes.append(NUMBER.pack(number) + written)

    def _enqueue(self, number: int, layout: str, items: list[Any], kind: object) -> None:
        written = b"N" if kind is None else self._apart(lambda: self.put(kind, 0))
        self._directory.append(NUMBER.pack(number) + layout.encode() + written)
        self._queue.append((number, layout, items))

    def _apart(self, write: Callable[[], object]) -> bytes:
        before, self.parts = self.parts, []
        try:
            write()
            return b"".join(self.parts)
        finally:
            self.parts = before


class Receiver(Decoder):
    """Reads one message. Each side says what it makes of the other's classes."""

    def __init__(self, data: bytes, objects: Objects, bounds: Bounds = DEFAULT) -> None:
        if len(data) > bounds.size:
            raise DecodeError(f"{len(data)} bytes exceed {bounds.size}")
        super().__init__(data, bounds)
        self.objects = objects

    def message(self) -> Any:
        """Return the value of the message.

        Raises:
            DecodeError: the bytes are anything but a well-formed message within bounds.
        """
        try:
            for _ in range(self.count()):
                number = self.number()
                self._adopt(number, self.make_class(self.get(0)), OPAQUE)
            holders = [self._holder() for _ in range(self.count())]
            value = self.get(0)
            contents = [(number, self.items(0)) for number in holders]
            if self.position != len(self.data):
                raise DecodeError(f"{len(self.data) - self.position} bytes after the message")
            # What others are hashed by comes first.
            if len(contents) > 1:
                contents.sort(key=self._order)
            for number, items in contents:
                self._fill(number, items)
        except (*MALFORMED, AttributeError) as error:
            raise DecodeError(f"malformed message: {type(error).__name__}: {error}") from error
        return value

    def make_mutable(self, layout: str, kind: Any) -> Any:
        """Return an empty object of a mutable layout; of its builtin class where `kind` is None."""
        if layout == ATTRIBUTES:
            return object.__new__(kind)
        if layout == ARRAY:
            dtype, shape = kind
            return arrays.empty(dtype, shape, len(self.data) - self.position)
        base: Any = _BUILTINS[layout]
        if kind is None:
            return base()
        # The library's own classes that are written in Python begin in __init__.
        return kind() if kind in _SHARED_CONTAINERS else base.__new__(kind)

    @abstractmethod
    def make_class(self, description: Any) -> type:
        """Return what stands for a class of the other side's here."""

    @abstractmethod
    def make_fixed(self, layout: str, kind: Any, depth: int) -> Any:
        """Read what is plain of an object that does not change, and return the object."""

    @abstractmethod
    def find_global(self, module: str, name: str) -> Any:
        """Return what both sides have by name."""

    def allow_attributes(self, kind: type, names: list[Any]) -> None:
        """See that objects of a class may get attributes from the other side.

        Raises:
            DecodeError: they may not.
        """

    def number(self) -> int:
        """Read the number of an object."""
        number: int = NUMBER.unpack_from(self.data, self.position)[0]
        self.position += NUMBER.size
        return number

    def _adopt(self, number: int, value: object, layout: str) -> None:
        if not self.objects.is_foreign(number) or len(self.objects) >= OBJECTS:
            raise DecodeError("no new object can have this number")
        # A real class may have been told of before, and functions and classes are never let go.
        self.objects.adopt(number, value, layout, keep=isinstance(value, type))

    def _holder(self) -> int:
        number, layout = self.number(), self.take(1).decode("latin-1")
        kind = self.get(0)
        if layout not in LAYOUTS:
            raise DecodeError("a layout expected")
        if not self.objects.knows(number):
            self._adopt(number, self.make_mutable(layout, kind), layout)
        elif self.objects.layout(number) != layout:
            raise DecodeError("an object cannot change its layout")
        return number

    def _order(self, pair: tuple[int, list[Any]]) -> bool:
        return self.objects.layout(pair[0]) in "oS"

    def _fill(self, number: int, items: list[Any]) -> None:
        value, layout = self.objects.get(number), self.objects.layout(number)
        if layout == "o":
            self.keyed(items[: len(items) // 2 * 2 : 2])
        elif layout == "S":
            self.keyed(items)
        elif layout == ATTRIBUTES:
            self.allow_attributes(type(value), items[::2])
        elif layout == "B" and [type(item) for item in items] != [bytes]:
            raise DecodeError("bytes expected")
        if layout == "q" and (not items or type(items[0]) not in (int, type(None))):
            raise DecodeError("a length expected")
        if layout == "q" and items[0] is not None and not deque.__len__(value):
            deque.__init__(value, (), items[0])
        fill(value, layout, items)
        self.objects.told(number, items if layout == "l" else content(value, layout))


def _get_known(data: Receiver, _: int) -> Any:
    try:
        return data.objects.get(data.number())
    except KeyError as error:
        raise DecodeError("an object that nobody told of") from error


def _get_fixed(data: Receiver, depth: int) -> Any:
    number, layout = data.number(), data.take(1).decode("latin-1")
    if layout not in (OPAQUE, EXCEPTION, IMMUTABLE, FROZEN):
        raise DecodeError("a layout expected")
    value = data.make_fixed(layout, data.get(depth + 1), depth)
    data._adopt(number, value, layout)
    return value


def _get_global(data: Receiver, _depth: int) -> Any:
    module, _, name = data.sized().decode("utf-8", "surrogatepass").partition(":")
    return data.find_global(module, name)


Receiver.readers = by_tag(READERS | {b"@": _get_known, b"#": _get_fixed, b"G": _get_global})
