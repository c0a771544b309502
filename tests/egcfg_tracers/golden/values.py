# call: f()
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

Point = namedtuple("Point", "x y")


class Colour(Enum):
    RED = 1


@dataclass
class Node:
    value: int
    next: object = None


class Loud(int):
    def __repr__(self):
        print("repr was run")
        return "loud"


class Meta(type):
    def __hash__(cls):
        print("hash was run")
        return 1

    @property
    def __name__(cls):
        print("name was run")
        return "lie"


class Odd(metaclass=Meta):
    @property
    def __class__(self):
        print("class was run")
        return int

    def __len__(self):
        print("len was run")
        return 1

    __iter__ = __bool__ = __getattribute__ = __len__


def f():
    huge, long, wide = 10**5000, "ab" * 200, list(range(1000))
    deep = [[[[[[[1]]]]]]]
    counter, order = Counter("hello"), OrderedDict(b=1, a=2)
    groups, queue = defaultdict(list, {1: [2]}), deque([1, 2], 5)
    ring = Node(1, Node(2))
    ring.next.next = ring
    point, colour, half = Point(1, 2), Colour.RED, Fraction(1, 2)
    loud, odd = Loud(5), Odd()
    mixed = {1, "a", (2, 3), None, 2.5}
    text = "tab\t nul\0 line\n sep\x1f bidi\u202e lone\ud800"
    raw, view = b"\x00abc", bytearray(b"xyz")
    number, infinite, none = 1e100, float("inf"), ...
    address = "<Node object at 0x7f12ab>"
    return type(odd), print, (x for x in "a"), [1, [2, "b"]]
