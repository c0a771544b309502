"""Functions of a program: their order, and how one is replaced."""

from __future__ import annotations

from egcfg.methods.function_tree import FunctionTree

PROGRAM = '''\
from __future__ import annotations
import math


# adds
def add(x):
    return x + 1


def unused(x):
    return x


def twice(x):
    return add(add(x))


def f(x):
    """Do it."""
    return twice(x) + add(x) + math.pi
'''


def test_callees_come_before_their_callers() -> None:
    assert FunctionTree(PROGRAM).below("f") == ["add", "twice"]
    assert FunctionTree(PROGRAM).below("add") == []
    assert FunctionTree(PROGRAM).below("g") == []


def test_a_whole_program_is_the_root_of_what_it_calls() -> None:
    assert FunctionTree(PROGRAM + "print(twice(2))\n").below(None) == ["add", "twice"]


def test_functions_that_call_each_other_come_once() -> None:
    circle = "def a(x): return b(x)\ndef b(x): return a(x)\ndef f(x): return f(a(x))\n"
    assert FunctionTree(circle).below("f") == ["b", "a"]


def test_what_is_no_python_has_no_functions() -> None:
    assert FunctionTree("def f(:").functions == {}
    assert FunctionTree("def f(:").below("f") == []


def test_a_function_takes_the_place_of_its_namesake() -> None:
    new = FunctionTree(PROGRAM).with_definitions(
        "import re\nfrom math import pi\n\ndef help():\n    return 2\n\n"
        "def add(x):\n    return x + help()\n\nprint(add(1))\n"
    )
    assert new.below("f") == ["help", "add", "twice"]
    assert new.source.startswith("from __future__ import annotations\n")
    assert "print" not in new.source
    assert "import re\n" in new.source
    assert new.functions["add"] == "def add(x):\n    return x + help()"
    namespace: dict[str, object] = {}
    exec(new.source, namespace)
    assert namespace["twice"](0) == 4  # type: ignore[operator]


def test_of_several_definitions_none_of_the_old_ones_is_left() -> None:
    twice = "def f(x):\n    return 1\n\ndef f(x):\n    return 2\n"
    new = FunctionTree(twice).with_definitions("def f(x):\n    return 3\n")
    assert new.source == "def f(x):\n    return 3\n"


def test_decorators_belong_to_their_function() -> None:
    source = "import functools\n\n@functools.cache\n@str\ndef f(x):\n    return x\n"
    assert FunctionTree(source).functions["f"].startswith("@functools.cache\n@str\ndef f")


def test_code_that_nests_deeply_is_handed_on_as_it_is() -> None:
    deep = "x = " + "1 + " * 900 + "1\n\ndef f(y):\n    return y\n"
    new = FunctionTree(deep).with_definitions("def f(y):\n    return 2\n")
    assert "1 + 1 + 1" in new.source
    assert "return 2" in new.source
