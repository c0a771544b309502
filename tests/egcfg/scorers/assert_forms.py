"""Programs and tests of many forms, by what a test does: each program of a family x each test.

The programs of a family are right and wrong ones; plain CPython says which verdict is right. More
families are in ``forms/asserts.txt``.
"""

from __future__ import annotations

import runpy
from pathlib import Path

from attrs import frozen

__all__ = ["FAMILIES", "Family", "Form", "all_forms"]


@frozen
class Family:
    """Programs with a function or class ``f``, and tests of it.

    Attributes:
        programs: their sources.
        tests: sources of tests.
        setup: code that the tests rely on.
    """

    programs: tuple[str, ...]
    tests: tuple[str, ...]
    setup: str = ""


@frozen
class Form:
    """One program and one test.

    Attributes:
        name: family, program and test.
        number: any n-th part of the numbers holds every program and every test of a family.
        program: source.
        test: source.
        setup: source.
    """

    name: str
    number: int
    program: str
    test: str
    setup: str


def all_forms() -> list[Form]:
    """Return every program of every family with every test of it."""
    folder = Path(__file__).parent
    read = runpy.run_path(str(folder / "read_forms.py"))["read_forms"]
    more = {
        name: Family(tuple(texts["program"]), tuple(texts["test"]))
        for name, texts in read(folder / "forms" / "asserts.txt").items()
    }
    return [
        Form(f"{name}/{p}/{t}", p + t, program, test, family.setup)
        for name, family in (FAMILIES | more).items()
        for p, program in enumerate(family.programs)
        for t, test in enumerate(family.tests)
    ]


def raises(kind: str, then: str = "pass") -> str:
    """Return a test that expects an exception of a call ``f(1)``."""
    body = "\n".join(f"    {line}" for line in then.splitlines())
    return (
        f"try:\n    f(1)\nexcept {kind} as e:\n{body}\nelse:\n    raise AssertionError('nothing')"
    )


def returns(*expressions: str, before: str = "") -> tuple[str, ...]:
    """Return programs whose ``f`` returns an expression of ``x``."""
    return tuple(f"{before}\ndef f(x=2):\n    return {e}" for e in expressions)


POINT = """from dataclasses import dataclass, field
@dataclass
class P:
    x: int
    tags: list = field(default_factory=list)
    def twice(self): return self.x * 2
    def grow(self, by=1): self.x += by; return self
def f(x=2): return P({0})"""
FROZEN = """from dataclasses import dataclass
@dataclass(frozen=True, order=True)
class P:
    x: int
    y: int = 0
def f(x=2): return P({0})"""
NAMED = """from collections import namedtuple
P = namedtuple('P', 'x y', defaults=[7])
def f(x=2): return P({0})"""
TYPED = """from typing import NamedTuple
class P(NamedTuple):
    x: int
    y: int = 7
    def total(self): return self.x + self.y
def f(x=2): return P({0})"""
COLORS = """from enum import Enum, IntEnum, Flag
class C(Enum):
    RED = 1
    BLUE = 2
    def shout(self): return self.name + '!'
class N(IntEnum):
    LOW = 1
    HIGH = 2
def f(x=2): return {0}"""
STACK = """class f:
    made = 0
    def __init__(self, *items):
        self.items = list(items)
        f.made += 1
    def push(self, x):
        self.items.{0}
        return self
    def pop(self):
        if not self.items:
            raise IndexError('empty stack')
        return self.items.pop()
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __getitem__(self, i): return self.items[i]
    def __repr__(self): return f'Stack({{self.items}})'
    @property
    def top(self): return self.items[-1]
    @classmethod
    def of(cls, items): return cls(*items)
    @staticmethod
    def limit(): return 10"""
SHAPES = """from abc import ABC, abstractmethod
class Shape(ABC):
    @abstractmethod
    def area(self): ...
class Square(Shape):
    def __init__(self, a): self.a = a
    def area(self): return {0}
class Unit(Square):
    def __init__(self): super().__init__(1)
def f(a): return Square(a)"""
ERRORS = """import json, decimal, sys
class Own(ValueError):
    def __init__(self, code, *rest):
        super().__init__(f'code {{code}}')
        self.code = code
    def twice(self): return self.code * 2
class Base(BaseException): pass
def f(x=1):
    {0}"""
NODES = """class Node:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next
def build(items):
    head = None
    for item in reversed(items):
        head = Node(item, head)
    return head
def to_list(node):
    out = []
    while node:
        out.append(node.val)
        node = node.next
    return out"""
TREE = """from dataclasses import dataclass
from typing import Optional
@dataclass
class Tree:
    val: int
    left: Optional['Tree'] = None
    right: Optional['Tree'] = None"""

FAMILIES: dict[str, Family] = {
    "plain": Family(
        returns("x * 2", "x + 3", "str(x)", "[x]", "None", "x * 2.0", "True", "{x: 4}"),
        (
            "assert f(2) == 4",
            "assert f(2) != 4",
            "assert not f(2)",
            "assert f(2) is not None",
            "assert abs(f(2) - 4) < 1e-9",
            "assert f(2) in (4, [2])",
            "assert isinstance(f(2), int) and not isinstance(f(2), bool)",
            "assert type(f(2)) is float",
            "assert str(f(2)) == '4'",
            "assert f'{f(2)}' == '4' and repr(f(2)) == '4'",
            "assert hash(f(2)) == hash(4)",
            "for n in range(3):\n    assert f(n) == 2 * n",
            "assert [f(n) for n in (1, 2)] == [2, 4]",
            "assert list(map(f, (1, 2))) == [2, 4]",
            "assert 3 < f(2) <= 4 < f(3)",
            "r = f(2)\nassert r == 4, f'{r} is not 4'",
            "assert f(x=2) == f(*[2]) == f(**{'x': 2}) == 4",
            "assert (lambda g: g(2))(f) == 4",
            "match f(2):\n    case 4: pass\n    case _: assert False",
            "import math\nassert math.isclose(f(2), 4)",
            "assert sum([f(1), f(2)]) == 6",
            "assert f.__name__ == 'f' and callable(f)",
        ),
    ),
    "containers": Family(
        returns(
            "[1, 2, 3]",
            "(1, 2, 3)",
            "{1, 2, 3}",
            "frozenset([1, 2, 3])",
            "iter([1, 2, 3])",
            "range(1, 4)",
            "{1: 0, 2: 0, 3: 0}.keys()",
            "__import__('collections').deque([1, 2, 3])",
            "[3, 2, 1]",
        ),
        (
            "assert f() == [1, 2, 3]",
            "assert list(f()) == [1, 2, 3]",
            "assert set(f()) == {1, 2, 3}",
            "assert sorted(f()) == [1, 2, 3]",
            "assert len(f()) == 3",
            "assert 2 in f() and 9 not in f()",
            "assert type(f()) in (list, tuple)",
            "a, b, c = f()\nassert (a, b, c) == (1, 2, 3)",
            "assert f()[-1] == 3",
            "import collections.abc\nassert isinstance(f(), collections.abc.Sequence)",
        ),
    ),
    "dicts": Family(
        returns(
            "dict(a=2, b=1)",
            "Counter('aab')",
            "defaultdict(int, a=2, b=1)",
            "OrderedDict([('a', 2), ('b', 1)])",
            "OrderedDict([('b', 1), ('a', 2)])",
            "defaultdict(lambda: 0, a=2, b=1)",
            before="from collections import Counter, OrderedDict, defaultdict",
        ),
        (
            "assert f() == {'a': 2, 'b': 1}",
            "from collections import OrderedDict\nassert f() == OrderedDict([('a', 2), ('b', 1)])",
            "assert type(f()) is dict",
            "from collections import Counter\nassert isinstance(f(), Counter)",
            "assert f().most_common(1) == [('a', 2)]",
            "assert f()['z'] == 0",
            "d = f()\nd['z'] += 1\nassert d['z'] == 1",
            "assert list(f()) == ['a', 'b'] and list(f().items())[0] == ('a', 2)",
            "d = f()\nd.move_to_end('a')\nassert list(d) == ['b', 'a']",
            "assert type(f()).__name__ in ('Counter', 'defaultdict')",
            "assert f() + f() == {'a': 4, 'b': 2}",
        ),
    ),
    "dataclass": Family(
        tuple(POINT.format(e) for e in ("x", "x + 1", "x, [1]")),
        (
            "assert f(2) == P(2)",
            "assert f(2) != P(3)",
            "assert P(2) == f(2) and P(x=2) == f()",
            "assert [f(1), f(2)] == [P(1), P(2)]",
            "assert {'k': f(2)} == {'k': P(2)}",
            "assert f(2).x == 2 and f(2).tags == []",
            "p = f(2)\np.x = 9\nassert p == P(9) and p.twice() == 18",
            "p = f(2)\np.grow()\nassert p.x == 3 and p == P(3)",
            "assert f(2).grow(3).grow() == P(6)",
            "p = P(5)\np.grow()\nassert p.x == 6",
            "assert isinstance(f(2), P) and type(f(2)) is P and type(f(2)).__name__ == 'P'",
            "assert repr(f(2)) == 'P(x=2, tags=[])'",
            "from dataclasses import asdict\nassert asdict(f(2)) == {'x': 2, 'tags': []}",
            "assert P(2) in [f(1), f(2)]",
            "try:\n    hash(f(2))\nexcept TypeError: pass\nelse: assert False",
            "p = f(2)\np.tags.append(1)\nassert p.tags == [1]",
        ),
    ),
    "frozen": Family(
        tuple(FROZEN.format(e) for e in ("x", "x, 1", "0")),
        (
            "assert f(2) == P(2)",
            "assert f(2) < P(3) and max(f(2), P(1)) == P(2)",
            "assert sorted([P(3), f(2)])[0] == P(2)",
            "assert {f(2), P(2)} == {P(2)}",
            "assert {P(2): 'a'}[f(2)] == 'a'",
            "try:\n    f(2).x = 1\nexcept AttributeError: pass\nelse: assert False",
        ),
    ),
    "namedtuple": Family(
        (*(NAMED.format(e) for e in ("x, 1", "1, x", "x")), TYPED.format("x, 1")),
        (
            "assert f(2) == (2, 1)",
            "assert f(2) == P(2, 1)",
            "assert f(2).x == 2 and f(2).y == 1",
            "a, b = f(2)\nassert (a, b) == (2, 1)",
            "assert f(2)._asdict() == {'x': 2, 'y': 1}",
            "assert f(2)._replace(x=5) == (5, 1)",
            "assert isinstance(f(2), tuple) and isinstance(f(2), P)",
            "assert type(f(2)) is tuple",
            "assert repr(f(2)) == 'P(x=2, y=1)' and P._fields == ('x', 'y')",
            "assert f(2).total() == 3",
            "assert {P(2, 1): 5}[f(2)] == 5 and P(2).y == 7",
        ),
    ),
    "enum": Family(
        tuple(COLORS.format(e) for e in ("C.RED", "C.BLUE", "N.LOW", "C", "1")),
        (
            "assert f() == C.RED",
            "assert f() is C.RED and f() != C.BLUE",
            "assert f().value == 1 and f().name == 'RED'",
            "assert f() == 1",
            "assert f() in C",
            "assert str(f()) == 'C.RED' and repr(f()) == '<C.RED: 1>'",
            "assert f().shout() == 'RED!'",
            "assert {C.RED: 'r', C.BLUE: 'b'}[f()] == 'r'",
            "assert isinstance(f(), C) and isinstance(C.RED, C)",
            "assert C(1) is C.RED is C['RED'] and len(C) == 2",
            "assert [c.name for c in C] == ['RED', 'BLUE'] and f() is not None",
            "assert f() + 1 == 2",
            "match f():\n    case C.RED: pass\n    case _: assert False",
        ),
    ),
    "class": Family(
        tuple(STACK.format(e) for e in ("append(x)", "insert(0, x)")),
        (
            "s = f()\ns.push(1)\ns.push(2)\nassert s.pop() == 2",
            "assert f().push(1).push(2).top == 2",
            "assert len(f(1, 2)) == 2 and list(f(1, 2)) == [1, 2]",
            "assert f(1, 2)[0] == 1 and f(1, 2).items == [1, 2]",
            "assert repr(f(1)) == 'Stack([1])' and str(f(1)) == 'Stack([1])'",
            "try:\n    f().pop()\nexcept IndexError as e:\n    assert str(e) == 'empty stack'\n"
            "else: assert False",
            "assert f.limit() == 10 and f.of([3]).top == 3",
            "f(); f()\nassert f.made == 2",
            "s = f()\ni = s.items\ns.push(5)\nassert i == [5] and s.items is i",
            "s = f(1)\ns.items.append(2)\nassert len(s) == 2 and s.pop() == 2",
            "s = f()\ns.name = 'n'\nassert s.name == 'n' and hasattr(s, 'pop')",
            "assert not hasattr(f(), 'nope') and getattr(f(), 'nope', 3) == 3",
            "assert isinstance(f(), f) and type(f()) is f and type(f()).__name__ == 'f'",
            "a, b = f(1), f(1)\nassert a is not b and a == a and a != b",
            "assert 2 in f(1, 2) and 3 not in f(1, 2)",
            "assert f.push(f(), 4).items == [4]",
            "push = f().push\nassert push(3).top == 3",
            "assert f.__name__ == 'f' and f.made == 0",
            "assert [x * 2 for x in f(1, 2)] == [2, 4] and sum(f(1, 2)) == 3",
            "assert vars(f(1)) == {'items': [1]} and f(1).__dict__ == {'items': [1]}",
            "s = f(1, 2)\ndel s.items\nassert not hasattr(s, 'items')",
            "assert not f() and f(1)",
        ),
    ),
    "inheritance": Family(
        tuple(SHAPES.format(e) for e in ("self.a ** 2", "self.a * 2 + 1")),
        (
            "assert f(2).area() == 4",
            "assert isinstance(f(2), Shape) and isinstance(f(2), Square)",
            "assert issubclass(Unit, Shape) and not isinstance(f(2), Unit)",
            "try:\n    Shape()\nexcept TypeError: pass\nelse: assert False",
            "assert Unit().area() == 1 and Unit().a == 1",
            "assert [s.area() for s in (f(2), Unit())] == [4, 1]",
            "assert Unit.__bases__ == (Square,) and Unit.__mro__[1] is Square",
        ),
    ),
    "subclasses of builtins": Family(
        (
            "class S(list):\n    def second(self): return self[1]\ndef f(x=2): return S([1, x])",
            "class S(list):\n    def second(self): return self[1]\ndef f(x=2): return [1, x]",
            "class S(tuple):\n    def second(self): return self[1]\ndef f(x=2): return S([1, x])",
        ),
        (
            "assert f() == [1, 2]",
            "assert list(f()) == [1, 2] and f()[1] == 2 and len(f()) == 2",
            "assert f().second() == 2",
            "assert isinstance(f(), list)",
            "assert type(f()) is list",
            "s = f()\ns.append(3)\nassert s == [1, 2, 3] and s.second() == 2",
            "assert f() + [3] == [1, 2, 3] and sum(f()) == 3",
        ),
    ),
    "numbers and text of its own": Family(
        (
            "class I(int):\n    def half(self): return self / 2\ndef f(x=2): return I(4)",
            "class I(str):\n    def half(self): return self[:1]\ndef f(x=2): return I('44')",
            "class I(float):\n    def half(self): return self / 2\ndef f(x=2): return I(4.0)",
        ),
        (
            "assert f() == 4",
            "assert f() + 1 == 5 and f() > 3",
            "assert f().half() == 2",
            "assert isinstance(f(), int) and type(f()) is not int",
            "assert str(f()) == '4'",
            "assert ''.join([f(), 'x']) == '44x'",
            "assert {4: 'a'}[f()] == 'a' and round(f()) == 4",
        ),
    ),
    "functions": Family(
        (
            "def f(n):\n    return lambda x: x + n",
            "def f(n):\n    def add(x): return n + x\n    return add",
            "def f(n):\n    return lambda x: x * n",
            "import functools, operator\ndef f(n):\n    return functools.partial(operator.add, n)",
            "class Add:\n    def __init__(s, n): s.n = n\n    def __call__(s, x): return s.n + x\n"
            "f = Add",
        ),
        (
            "assert f(2)(3) == 5",
            "g = f(2)\nassert g(3) == 5 and g(4) == 6",
            "assert callable(f(2)) and list(map(f(2), [1, 2])) == [3, 4]",
            "assert sorted([3, 1], key=f(1)) == [1, 3]",
            "assert f(2) is not f(2) and f(2) != 5",
            "assert f(1)(f(2)(3)) == 6",
            "assert f(2).__name__ == 'add'",
            "assert [g(1) for g in (f(1), f(2))] == [2, 3]",
            "assert f(2)",
        ),
    ),
    "callbacks": Family(
        (
            "def f(g, xs):\n    return [g(x) for x in xs]",
            "def f(g, xs):\n    return list(map(g, reversed(xs)))",
            "def f(g, xs):\n    g(xs[0])\n    return [g(x) for x in xs]",
            "def f(g, xs):\n    try: return [g(x) for x in xs]\n    except Exception: return []",
        ),
        (
            "assert f(lambda v: v * 2, [1, 2]) == [2, 4]",
            "def double(v):\n    return v * 2\nassert f(double, [1, 2]) == [2, 4]",
            "n = 10\nassert f(lambda v: v + n, [1]) == [11]",
            "seen = []\nf(seen.append, [1, 2])\nassert seen == [1, 2]",
            "assert f(str, [1, 2]) == ['1', '2'] and f(len, ['ab']) == [2]",
            "assert f(str.upper, ['a', 'b']) == ['A', 'B']",
            "import operator, math\nassert f(operator.neg, [1]) == [-1]\n"
            "assert f(math.sqrt, [4]) == [2]",
            "from functools import partial\nassert f(partial(max, 3), [1, 5]) == [3, 5]",
            "def bad(v):\n    raise KeyError(v)\ntry:\n    f(bad, [1])\n"
            "except KeyError as e:\n    assert e.args == (1,)\nelse: assert False",
            "class Own(Exception): pass\ndef bad(v):\n    raise Own(v)\ntry:\n    f(bad, [1])\n"
            "except Own: pass\nelse: assert False",
            "class Plus:\n    def __init__(self, n): self.n = n\n"
            "    def __call__(self, v): return v + self.n\nassert f(Plus(3), [1]) == [4]",
            "class Box:\n    def __init__(self, v): self.v = v\n    def up(self): self.v += 1\n"
            "b = Box(1)\nf(lambda x: b.up(), [1, 2])\nassert b.v == 3",
            "assert f(lambda v: lambda: v, [7])[0]() == 7",
            "assert f(lambda v: f(lambda w: w + v, [1]), [1, 2]) == [[2], [3]]",
            "assert f(int, ['3']) == [3] and f(type, [1]) == [int]",
        ),
    ),
    "test objects": Family(
        (
            "def f(d):\n    d.seen = d.name\n    return d.speak() + d.name",
            "def f(d):\n    return d.name",
        ),
        (
            "class Dog:\n    name = 'd'\n    def speak(self): return 'w'\n"
            "d = Dog()\nassert f(d) == 'wd' and d.seen == 'd'",
            "from types import SimpleNamespace\n"
            "assert f(SimpleNamespace(name='d', speak=lambda: 'w')) == 'wd'",
        ),
    ),
    "in place": Family(
        (
            "def f(a):\n    a.sort()",
            "def f(a):\n    a[:] = sorted(a)\n    return a",
            "def f(a):\n    return sorted(a)",
            "def f(a):\n    a.sort()\n    a.append(0)\n    return a",
        ),
        (
            "a = [3, 1]\nf(a)\nassert a == [1, 3]",
            "a = [3, 1]\nb = f(a)\nassert b is a",
            "a = [3, 1]\nassert f(a) == [1, 3] and a == [3, 1]",
            "a = [3, 1]\ng = [a, a]\nf(g[0])\nassert g == [[1, 3], [1, 3]]",
            "assert (lambda a: (f(a), a)[1])([3, 1]) == [1, 3]",
            "a = [3, 1]\nf(a)\na.append(2)\nf(a)\nassert a == [1, 2, 3]",
            "a = [3, 1]\nd = {'k': a}\nf(d['k'])\nassert d == {'k': [1, 3]}",
        ),
    ),
    "in place, other kinds": Family(
        (
            "def f(a):\n    a.clear()",
            "def f(a):\n    a.pop()",
            "def f(a):\n    b = a.copy()\n    b.clear()\n    return b",
        ),
        (
            "a = [1]\nf(a)\nassert a == []",
            "a = {1}\nf(a)\nassert a == set()",
            "from collections import deque\na = deque([1], maxlen=3)\nf(a)\n"
            "assert len(a) == 0 and a.maxlen == 3",
            "a = bytearray(b'x')\nf(a)\nassert a == b''",
            "a = {1: 2}\ntry: f(a)\nexcept TypeError: a = {}\nassert a == {}",
            "from collections import OrderedDict\na = OrderedDict(a=1)\n"
            "try: f(a)\nexcept TypeError: a = {}\nassert a == {}",
        ),
    ),
    "generators": Family(
        (
            "def f(n=0):\n    while True:\n        yield n\n        n += 1",
            "import itertools\nf = itertools.count",
            "def f(n=0):\n    yield from (n, n + 1, n + 2)",
            "def f(n=0):\n    return [n, n + 1, n + 2]",
            "def f(n=0):\n    yield n\n    raise ValueError('stop')",
        ),
        (
            "g = f()\nassert [next(g), next(g), next(g)] == [0, 1, 2]",
            "from itertools import islice\nassert list(islice(f(5), 2)) == [5, 6]",
            "for i, v in zip(range(2), f()):\n    assert i == v",
            "import types\nassert isinstance(f(), types.GeneratorType)",
            "import types\nassert type(f()) is types.GeneratorType",
            "from collections.abc import Iterator\nassert isinstance(f(), Iterator)",
            "import inspect\nassert inspect.isgenerator(f())",
            "g = f()\nassert iter(g) is g",
            "g = f()\nnext(g)\ng.close()\ntry:\n    next(g)\nexcept StopIteration: pass\n"
            "else: assert False",
            "a, b = f(), f()\nnext(a)\nassert next(a) == 1 and next(b) == 0",
            "g = f()\nassert next(g, None) == 0",
        ),
    ),
    "iterators of itertools": Family(
        returns(
            "combinations([1, 2, 3], 2)",
            "[(1, 2), (1, 3), (2, 3)]",
            "((a, b) for a in (1, 2) for b in (2, 3) if a < b)",
            "permutations([1, 2], 2)",
            before="from itertools import combinations, permutations",
        ),
        (
            "assert list(f()) == [(1, 2), (1, 3), (2, 3)]",
            "assert sorted(f())[0] == (1, 2) and len(list(f())) == 3",
            "it = f()\nassert list(it) and not list(it)",
            "assert f() == [(1, 2), (1, 3), (2, 3)]",
            "assert any(a + b == 5 for a, b in f())",
        ),
    ),
    "async": Family(
        (
            "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x * 2",
            "async def f(x):\n    return x * 3",
            "async def f(x):\n    raise ValueError(x)",
            "def f(x):\n    return x * 2",
        ),
        (
            "import asyncio\nassert asyncio.run(f(2)) == 4",
            "import asyncio\nasync def main():\n    assert await f(2) == 4\nasyncio.run(main())",
            "import asyncio\nasync def main():\n    return await asyncio.gather(f(1), f(2))\n"
            "assert asyncio.run(main()) == [2, 4]",
            "import asyncio\ntry:\n    asyncio.run(f(2))\nexcept ValueError as e:\n"
            "    assert e.args == (2,)\nelse: assert False",
            "import inspect\nassert inspect.iscoroutinefunction(f)",
            "import asyncio\nassert asyncio.new_event_loop().run_until_complete(f(2)) == 4",
            "import asyncio\nasync def main():\n"
            "    return await asyncio.wait_for(f(2), timeout=5)\nassert asyncio.run(main()) == 4",
        ),
    ),
    "async iteration": Family(
        (
            "async def f(n):\n    for i in range(n):\n        yield i",
            "class f:\n    def __init__(s, n): s.n = n\n    async def __aenter__(s): return s.n\n"
            "    async def __aexit__(s, *e): return False",
        ),
        (
            "import asyncio\nasync def main():\n    return [x async for x in f(3)]\n"
            "assert asyncio.run(main()) == [0, 1, 2]",
            "import asyncio\nasync def main():\n    async with f(3) as n:\n        return n\n"
            "assert asyncio.run(main()) == 3",
        ),
    ),
    "context managers": Family(
        (
            "from contextlib import contextmanager\nlog = []\n@contextmanager\ndef f(x):\n"
            "    log.append('in')\n    try: yield x\n    finally: log.append('out')",
            "log = []\nclass f:\n    def __init__(self, x): self.x = x\n"
            "    def __enter__(self): log.append('in'); return self.x\n"
            "    def __exit__(self, *e): log.append('out'); return True",
            "from contextlib import nullcontext as f\nlog = []",
        ),
        (
            "with f(2) as v:\n    assert v == 2",
            "with f(2): pass\nassert log == ['in', 'out']",
            "try:\n    with f(2): raise KeyError(1)\nexcept KeyError: pass\nelse: assert False",
            "with f(2): raise KeyError(1)",
        ),
    ),
    "printing": Family(
        (
            "def f(x):\n    print('hi', x)",
            "def f(x):\n    print('hi')\n    return x",
            "import sys\ndef f(x):\n    sys.stdout.write(f'hi {x}\\n')",
        ),
        (
            "import io\nfrom contextlib import redirect_stdout\nb = io.StringIO()\n"
            "with redirect_stdout(b):\n    f(3)\nassert b.getvalue() == 'hi 3\\n'",
            "import io, sys\nold, sys.stdout = sys.stdout, io.StringIO()\nf(3)\n"
            "text, sys.stdout = sys.stdout.getvalue(), old\nassert text.strip() == 'hi 3'",
            "assert f(3) is None",
        ),
    ),
    "files": Family(
        (
            "def f(p):\n    return open(p).read()",
            "def f(p):\n    open(p, 'a').write('!')\n    return open(p).read()",
            "import os\ndef f(p):\n    os.remove(p)\n    return 'x'",
        ),
        (
            "open('t.txt', 'w').write('x')\nassert f('t.txt') == 'x'",
            "import tempfile, os\nwith tempfile.TemporaryDirectory() as d:\n"
            "    p = os.path.join(d, 'a')\n    open(p, 'w').write('x')\n    f(p)\n"
            "    assert open(p).read() == 'x!'",
            "import os\nopen('u.txt', 'w').write('x')\nf('u.txt')\nassert os.path.exists('u.txt')",
        ),
    ),
    "exceptions": Family(
        tuple(
            ERRORS.format(line)
            for line in (
                "raise ValueError('bad', 3)",
                "return {}[x]",
                "open('/nope')",
                "raise Own(4)",
                "sys.exit(3)",
                "raise GeneratorExit",
                "raise KeyboardInterrupt",
                "raise Base('b')",
                "raise ExceptionGroup('g', [ValueError(1), KeyError(2)])",
                "json.loads('{')",
                "decimal.Decimal('abc')",
                "return x.foo",
                "raise TimeoutError('t')",
                "raise StopIteration(7)",
                "raise KeyError('k') from ValueError('v')",
                "assert x == 2, 'program'",
                "return b'\\xff'.decode()",
                "import nowhere",
                "raise RuntimeError",
                "return x",
            )
        ),
        (
            raises("ValueError", "assert e.args == ('bad', 3)"),
            raises("KeyError", "assert str(e) == '1' and e.args == (1,)"),
            raises("OSError", "assert e.errno == 2 and e.filename == '/nope'"),
            raises("Own", "assert e.code == 4 and e.twice() == 8 and str(e) == 'code 4'"),
            raises("Exception"),
            raises("BaseException", "assert type(e).__name__ in ('SystemExit', 'Base')"),
            raises("(TypeError, ExceptionGroup)"),
            "import json, decimal\n" + raises("(json.JSONDecodeError, decimal.InvalidOperation)"),
            raises("AttributeError", "assert e.name == 'foo' and e.obj == 1"),
            raises("LookupError", "assert isinstance(e.__cause__, ValueError)"),
            raises("(AssertionError, RuntimeError, ImportError, UnicodeError)"),
        ),
    ),
    "linked lists of the setup": Family(
        (
            "def f(h):\n    p = None\n    while h:\n        h.next, p, h = p, h, h.next\n"
            "    return p",
            "def f(h):\n    return h",
            "def f(h):\n    return build(list(reversed(to_list(h))))",
            f"{NODES.split('def ')[0]}class Other(Node): pass\n" + "def f(h):\n    return None",
        ),
        (
            "assert to_list(f(build([1, 2, 3]))) == [3, 2, 1]",
            "h = build([1, 2])\nr = f(h)\nassert r.next is h",
            "assert isinstance(f(Node(1)), Node) and f(Node(5)).val == 5",
            "assert f(None) is None",
        ),
        setup=NODES,
    ),
    "trees of the setup": Family(
        (
            "def f(t):\n    if t: t.left, t.right = f(t.right), f(t.left)\n    return t",
            "def f(t):\n    return t and Tree(t.val, f(t.right), f(t.left))",
            "def f(t):\n    return t",
        ),
        (
            "assert f(Tree(1, Tree(2), None)) == Tree(1, None, Tree(2))",
            "t = Tree(1, Tree(2))\nassert f(t).right == Tree(2) and f(t) is not None",
            "t = Tree(1, Tree(2))\nassert f(t) is t",
        ),
        setup=TREE,
    ),
    "helpers of the setup": Family(
        returns("x * 2.0000001", "x * 2.1", "close"),
        (
            "assert close(f(2), 4)",
            "assert f(2) == Approx(4)",
            "assert_close(f(2), 4)",
        ),
        setup="def close(a, b): return abs(a - b) < 1e-3\n"
        "def assert_close(a, b): assert close(a, b)\n"
        "class Approx:\n    def __init__(self, v): self.v = v\n"
        "    def __eq__(self, o): return close(self.v, o)",
    ),
    "other names": Family(
        (
            "PI = 3\ndef g(x): return x - 1\ndef f(x): return PI * x * x",
            "PI = 3.1\ndef g(x): return x + 1\ndef f(x): return 3 * x * x",
            "def f(x): return 3 * x * x",
        ),
        (
            "assert f(2) == PI * 4",
            "assert g(f(1)) == 2",
            "assert f(1) == 3 and g(1) == 0",
            "assert f(g(2)) == 3",
        ),
    ),
    "state": Family(
        (
            "count = 0\ndef f(x=1):\n    global count\n    count += x\n    return count",
            "seen = []\ncount = 0\ndef f(x=1):\n    seen.append(x)\n    return len(seen)",
            "from functools import lru_cache\ncount = 0\n@lru_cache\ndef f(x=1): return x",
        ),
        (
            "f()\nf()\nassert count == 2",
            "assert f(1) == 1 and f(2) == 3",
            "f(1)\nf(1)\nassert f.cache_info().hits == 1",
            "f()\nassert f() == 2",
        ),
    ),
    "values": Family(
        returns(
            "datetime(2020, 1, 2, tzinfo=timezone.utc)",
            "date(2020, 1, 2)",
            "Fraction(1, 3)",
            "Decimal('0.1')",
            "10 ** 5000",
            "re.match('(a)b', 'abc')",
            "float('nan')",
            "1 + 2j",
            "b'ab'",
            "...",
            "int",
            "re.compile('a')",
            "array('i', [1, 2])",
            before="import re\nfrom datetime import date, datetime, timezone\n"
            "from fractions import Fraction\nfrom decimal import Decimal\nfrom array import array",
        ),
        (
            "from datetime import datetime, timezone\n"
            "assert f() == datetime(2020, 1, 2, tzinfo=timezone.utc)",
            "from fractions import Fraction\nassert f() * 3 == 1",
            "from decimal import Decimal\nassert f() == Decimal('0.1')",
            "assert len(str(f())) == 5001",
            "assert f() and f().group(1) == 'a' and f()[0] == 'ab' and f().span() == (0, 2)",
            "assert f() != f()",
            "assert f() is int or f() is ...",
            "assert f().year == 2020",
            "assert f() == b'ab' or f() == 1 + 2j",
            "assert list(f()) == [1, 2] and len(f()) == 2",
            "assert f('3') == 3 or f.__name__ == 'f'",
        ),
    ),
    "operators of its own": Family(
        tuple(
            f"class V:\n    def __init__(s, v): s.v = v\n    def {name}(s, *o): return {value}\n"
            f"    __hash__ = object.__hash__\ndef f(x=2): return V(x)"
            for name, value in (
                ("__eq__", "isinstance(o[0], V) and s.v == o[0].v"),
                ("__lt__", "s.v < o[0].v"),
                ("__add__", "V(s.v + o[0].v)"),
                ("__contains__", "o[0] == s.v"),
                ("__bool__", "s.v > 0"),
                ("__abs__", "abs(s.v)"),
                ("__matmul__", "s.v"),
                ("__round__", "s.v"),
            )
        ),
        (
            "assert f(2) == f(2)",
            "assert f(1) < f(2)",
            "assert (f(1) + f(2)).v == 3",
            "assert 2 in f(2)",
            "assert f(1)",
            "assert abs(f(-1)) == 1",
            "assert f(2).v == 2",
        ),
    ),
    "conversions of its own": Family(
        (
            "class V:\n    def __init__(s, v): s.v = v\n    def __int__(s): return s.v\n"
            "    def __float__(s): return s.v / 1\n    def __index__(s): return s.v\n"
            "    def __str__(s): return f'<{s.v}>'\n    def __format__(s, how): return 'F' + how\n"
            "    def __bytes__(s): return b'b'\n    def __len__(s): return s.v\n"
            "    def __reversed__(s): return iter([2, 1])\ndef f(x=2): return V(x)",
        ),
        (
            "assert int(f(3)) == 3 and float(f(3)) == 3.0 and [1, 2][f(1)] == 2",
            "assert str(f(3)) == '<3>' and f'{f(3):x}' == 'Fx' and bytes(f(3)) == b'b'",
            "assert len(f(3)) == 3 and list(reversed(f(3))) == [2, 1]",
            "import math\nassert math.isclose(f(3), 3.0)",
            "assert float(f(3)) == 4.0",
        ),
    ),
    "identity": Family(
        ("def f(x): return x", "def f(x): return type(x)(x)", "def f(x): return [*x]"),
        (
            "t = (1, [2])\nassert f(t) is t",
            "s = 'ab' * 3\nassert f(s) is s",
            "a = [1]\nassert f(a) is a and f(a) == [1]",
            "assert f(()) == () and f([None])[0] is None",
            "d = {1: []}\nassert f(d)[1] is d[1]",
        ),
    ),
    "decorators": Family(
        (
            "import functools\ndef f(g):\n    @functools.wraps(g)\n    def w(*a):\n"
            "        w.calls += 1\n        return g(*a) * 2\n    w.calls = 0\n    return w",
            "def f(g): return g",
            "class f:\n    def __init__(s, g): s.g, s.calls = g, 0\n"
            "    def __call__(s, *a): s.calls += 1; return s.g(*a) * 2",
        ),
        (
            "@f\ndef g(x): return x + 1\nassert g(1) == 4",
            "@f\ndef g(x): return x + 1\ng(1); g(2)\nassert g.calls == 2",
            "@f\ndef g(x): return x + 1\nassert g.__name__ == 'g'",
            "import functools\nassert functools.reduce(f(lambda a, b: a + b), [1, 2, 3]) == 18",
            "assert max([1, 2], key=f(lambda x: -x)) == 1",
        ),
    ),
    "dicts of its own": Family(
        (
            "class D(dict):\n    def __missing__(self, k): return k * 2\ndef f(): return D(a=1)",
            "class D(dict): pass\ndef f(): return D(a=1)",
            "from collections import UserDict\nclass D(UserDict): pass\ndef f(): return D(a=1)",
        ),
        (
            "assert f()['b'] == 'bb'",
            "assert f()['a'] == 1 and len(f()) == 1 and list(f()) == ['a']",
            "assert dict(f()) == {'a': 1} and list(f().items()) == [('a', 1)]",
            "assert isinstance(f(), dict) and f() == {'a': 1}",
        ),
    ),
    "signatures and documents": Family(
        (
            "def f(a: int, b: str = 'x') -> list:\n    'Doc.'\n    return [a, b]",
            "def f(*a, **k): return list(a)",
        ),
        (
            "assert f.__doc__ == 'Doc.'",
            "assert f.__annotations__ == {'a': int, 'b': str, 'return': list}",
            "import inspect\nassert list(inspect.signature(f).parameters) == ['a', 'b']",
            "assert f.__defaults__ == ('x',) and f.__code__.co_argcount == 2",
            "import inspect\nassert inspect.isfunction(f) and not inspect.isclass(f)",
        ),
    ),
    "contexts of exceptions": Family(
        (
            "def f(x):\n    try: {}[x]\n    except KeyError: raise ValueError('v')",
            "def f(x):\n    try: {}[x]\n    except KeyError as e: raise ValueError('v') from e",
            "def f(x):\n    e = ValueError('v')\n    e.add_note('n')\n    raise e",
        ),
        (
            raises("ValueError", "assert isinstance(e.__context__, KeyError)"),
            raises("ValueError", "assert isinstance(e.__cause__, KeyError)"),
            raises("ValueError", "assert e.__notes__ == ['n']"),
        ),
    ),
}
