"""What a program defines, and what it lacks."""

from __future__ import annotations

import ast

import pytest

from egcfg.decoding.definitions import Strength, missing_names, preamble, strength, supplied


@pytest.mark.parametrize("entry_point", ["f", None])
def test_preamble_of_nothing_is_nothing(entry_point: str | None) -> None:
    assert preamble("", entry_point) == ""


@pytest.mark.parametrize(
    "definition",
    [
        "def f(x):\n    pass\n",
        "def f(x):\n",
        "async def f(x):\n    pass\n",
        "@cache\n@wraps(g)\ndef f(x):\n    pass\n",
        "async  def f(x):\n",
        "@cache\ndef f(x):\n",
        "class f:\n    def g(self):\n",
        "f = None\n",
    ],
)
def test_preamble_is_what_stands_before_the_function(definition: str) -> None:
    before = "import math\n\ndef f2(x):\n    return f(x)\n\n"
    assert preamble(before + definition, "f") == before


def test_preamble_without_the_function_is_everything() -> None:
    assert preamble("import math\n", "f") == "import math\n"
    assert preamble("import (\n", "f") == "import (\n"
    assert preamble("def f(): pass\n", None) == "def f(): pass\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(): return 1", Strength.FULL),
        ("async def f(): return 1", Strength.FULL),
        ("class f: pass", Strength.FULL),
        ("f = abs", Strength.FULL),
        ("f = lambda n: n and f(n - 1)", Strength.FULL),
        ("f: object = abs", Strength.FULL),
        ("(g, [f, *h]) = x", Strength.FULL),
        ("while True:\n    with x as f:\n        pass", Strength.FULL),
        ("match x:\n    case 1:\n        def f(): return 1", Strength.FULL),
        ("try:\n    pass\nexcept E:\n    pass\nelse:\n    def f(): return 1", Strength.FULL),
        ("from m import f", Strength.WEAK),
        ("import g as f", Strength.WEAK),
        ("import f.g", Strength.WEAK),
        ("def f():\n    '''Words.'''\n    raise NotImplementedError('later')", Strength.WEAK),
        ("def f(): ...\nf = cache(f)", Strength.WEAK),
        ("f = cache(f)", Strength.NONE),
        ("f: object", Strength.NONE),
        ("f += 1", Strength.NONE),
        ("f(1)\nf.g = 2\nf[0] = 1", Strength.NONE),
        ("class A:\n    def f(self): return 1", Strength.NONE),
        ("def g():\n    f = 1\n    return f", Strength.NONE),
    ],
)
def test_strength_of_a_definition(code: str, expected: Strength) -> None:
    assert strength(ast.parse(code), "f") is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print(input())", Strength.READS),
        ("import sys\nfor line in sys.stdin:\n    sys.stdout.write(line)", Strength.READS),
        ("print(open(0).read())", Strength.READS),
        ("print(1)", Strength.FULL),
        ("x = 1", Strength.WEAK),
        ("solve()", Strength.WEAK),
        ("5", Strength.NONE),
        ("'a', b", Strength.NONE),
        ("", Strength.NONE),
    ],
)
def test_strength_of_a_whole_program(code: str, expected: Strength) -> None:
    assert strength(ast.parse(code), None) is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(n: List[int]):\n    return g(n) + len(n)", {"List", "g"}),
        ("x = [y for y in z]\nprint(x, __name__, __file__)", {"z"}),
        ("class A(B):\n    c = d\n    def e(self):\n        return self.e, c", {"B", "d", "c"}),
        ("count = 0\ndef f():\n    global total\n    total = count\n    return total", set()),
        ("def f(a, *b, c=d, **e):\n    import os\n    return os, lambda x: (x, a, b, c, e)", {"d"}),
        ("from m import *\nf(x)", set()),
        ("def f(x):\n    return half(", {"def", "f", "x", "return", "half"}),
    ],
)
def test_names_that_a_program_lacks(code: str, expected: set[str]) -> None:
    assert missing_names(code) == expected


def test_what_is_supplied_brings_what_it_needs_itself_along() -> None:
    others = [
        "import os\nimport math\nPI = math.pi\nN = input()\nprint(PI)\n",
        "def g(): return PI",
    ]
    source = "def f(): return g() + N\n"
    assert supplied(source, others, "f") == (
        "import math\nPI = math.pi\ndef g():\n    return PI\n" + source
    )


def test_the_entry_point_and_what_the_program_has_are_not_supplied() -> None:
    others = ["def f(): return 1\ndef g(): return 2\n"]
    for source in ("def g(): return f()\n", "g = 3\n\ndef h(): return (g"):
        assert supplied(source, others, "f") == source or "= 3" in source
