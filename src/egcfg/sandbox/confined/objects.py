"""The objects that both processes know, by number, and what each side last told of them.

A mutable object keeps its identity across the channel: sent again, it is a number, and what changed
in it since goes along with the next message. So an argument that the program changes in place has
changed for the test, and the other way round.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .kinds import content, is_remembered

__all__ = ["Objects", "Results"]

# So many of the latest plain results are remembered.
REMEMBERED = 4096


class _Known:
    __slots__ = ("layout", "object")

    def __init__(self, value: object, layout: str) -> None:
        self.object = value
        self.layout = layout


# What refers to an object that nobody but the table holds: its entry, and getrefcount's argument.
_UNHELD = 2


class Objects:
    """Objects by number. Those that this side told the other of first have positive ones here.

    Args:
        sign: 1 on the side whose numbers are positive on the wire, else -1.
    """

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._count = 0
        self._known: dict[int, _Known] = {}
        self._numbers: dict[int, int] = {}
        self._kept: set[int] = set()
        # What both sides take those that can change to hold.
        self._told: dict[int, list[Any]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def number(self, value: object) -> int | None:
        """Return the number of an object that both sides know."""
        return self._numbers.get(id(value))

    def knows(self, number: int) -> bool:
        """Return whether there is an object of a number."""
        return number in self._known

    def get(self, number: int) -> Any:
        """Return an object by its number.

        Raises:
            KeyError: there is none.
        """
        return self._known[number].object

    def layout(self, number: int) -> str:
        """Return the layout of an object by its number."""
        return self._known[number].layout

    def add(self, value: object, layout: str, *, keep: bool = False) -> int:
        """Give an object a number of this side's.

        Args:
            value: the object.
            layout: as `kinds` has them.
            keep: whether it is never released.
        """
        self._count += 1
        number = self._sign * self._count
        self.adopt(number, value, layout)
        if keep:
            self._kept.add(number)
        return number

    def keep(self, value: object) -> None:
        """Never release an object that both sides know."""
        self._kept.add(self._numbers[id(value)])

    def adopt(self, number: int, value: object, layout: str, *, keep: bool = False) -> None:
        """Take over an object with the number that the other side gave it.

        Raises:
            KeyError: the number is taken, or is not the other side's to give.
        """
        if number in self._known:
            raise KeyError(number)
        self._known[number] = _Known(value, layout)
        self._numbers[id(value)] = number
        if keep:
            self._kept.add(number)

    def is_passed(self, number: int) -> bool:
        """Return whether a number is of an object that this side passed for the other to use."""
        return number in self._kept and not self.is_foreign(number)

    def is_foreign(self, number: int) -> bool:
        """Return whether a number is the other side's to give."""
        return number * self._sign < 0

    def told(self, number: int, items: list[Any]) -> None:
        """Note what both sides take an object to hold."""
        self._told[number] = items

    def changed(self) -> Iterator[tuple[int, list[Any]]]:
        """Yield the objects that hold something else than both sides know, and what."""
        for number, told in list(self._told.items()):
            known = self._known[number]
            items = content(known.object, known.layout)
            if not _same(items, told):
                yield number, items

    def unheld(self, keep: Callable[[int, object, str], bool]) -> list[int]:
        """Forget objects that nobody here holds but this table; return their numbers.

        What changed before it was let go of must be told of first.

        Args:
            keep: of number, object and layout, whether one that nobody holds is kept all the same.
        """
        gone: list[int] = []
        # What one of them holds is held until that one is gone.
        while found := [
            number
            for number, known in self._known.items()
            if sys.getrefcount(known.object) <= _UNHELD
            and number not in self._kept
            and not keep(number, known.object, known.layout)
            and not self._has_changed(number)
        ]:
            self.forget(found)
            gone += found
        return gone

    def forget(self, numbers: Iterable[int]) -> None:
        """Forget objects by their numbers."""
        for number in numbers:
            known = self._known.pop(number, None)
            if known is not None:
                del self._numbers[id(known.object)]
                self._kept.discard(number)
                self._told.pop(number, None)

    def _has_changed(self, number: int) -> bool:
        told, known = self._told.get(number), self._known[number]
        return told is not None and not _same(content(known.object, known.layout), told)


def _same(items: list[Any], told: list[Any]) -> bool:
    """Return whether two lists hold the same objects: no equality of anybody's decides."""
    if len(items) != len(told):
        return False
    if all(map(operator.is_, items, told)):
        return True
    return all(
        ours is theirs or (type(ours) is type(theirs) is bytes and ours == theirs)
        for ours, theirs in zip(items, told, strict=True)
    )


class Results:
    """The latest plain results of calls, which both sides number alike.

    A result that is the same object as an earlier one, as that of a cache, is told to be.
    """

    def __init__(self) -> None:
        self._count = 0
        self._values: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}

    def number(self, value: object) -> int | None:
        """Return the number of an object; None where it is none of the results."""
        return self._numbers.get(id(value))

    def get(self, number: int) -> Any:
        """Return a result by its number.

        Raises:
            KeyError: there is none.
        """
        return self._values[number]

    def add(self, value: object) -> None:
        """Remember a result, if it is one whose identity a test may ask for."""
        if not is_remembered(value):
            return
        if self._count >= REMEMBERED:
            oldest = self._values.pop(self._count - REMEMBERED)
            del self._numbers[id(oldest)]
        self._values[self._count] = value
        self._numbers[id(value)] = self._count
        self._count += 1
