"""What is told of a test before it runs: does it say something, and can it be judged?"""

from __future__ import annotations

import ast

import pytest

from egcfg.scorers.test_source import (
    asks_something,
    assigned_names,
    free_modules,
    reason_against,
)


@pytest.mark.parametrize(
    ("test", "asks"),
    [
        ("assert f(1) == 2", True),
        ("assert g(1) == 2", True),
        ("assert sum(10, 15) == 6", True),  # where that is the function's name
        ("assert 1 + 1 == 2", False),
        ("import math\nassert math.pi > len([3])", False),
        ("def helper(x): return x\nassert helper(1) == 1", False),
        ("assert base(1) == 1", False),  # of the setup code
        ("for x in []: assert x == 1", False),
    ],
)
def test_a_test_that_names_nothing_of_the_program_says_nothing(test: str, asks: bool) -> None:
    entry_point = "sum" if "sum" in test else "f"
    setup = ast.parse("def base(x): return x")
    assert asks_something(ast.parse(test), entry_point, setup) is asks


def test_setup_code_may_ask_for_a_test() -> None:
    setup = ast.parse("def base(x): return f(x)")
    assert asks_something(ast.parse("assert base(1) == 1"), "f", setup)


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        ("candidate): assert candidate(1)", True),
        ("c, n=1): list(map(c, [n]))", True),
        ("*all): all[0](1)", True),
        ("candidate): pass", False),
        ("candidate): assert 1 + 1 == 2", False),
        ("candidate): assert f(1) == 2", True),
        ("): pass", False),
    ],
)
def test_a_check_must_use_what_it_is_handed(body: str, asks: bool) -> None:
    tree = ast.parse(f"def check({body}")
    assert asks_something(tree, "f", handed="check") is asks


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("from unittest.mock import patch\nwith patch('x'): f()", "uses unittest"),
        ("from unittest import mock\nf(mock.Mock())", "uses unittest"),
        ("import pytest\nwith pytest.raises(ValueError): f()", "uses pytest"),
        ("import random\nrandom.seed(0)\nassert f() == 3", "seeds the random numbers"),
        ("from random import seed as s\ns(0)\nassert f() == 3", "seeds the random numbers"),
        ("import os\nos.environ['A'] = 'b'\nassert f() == 'b'", "the environment"),
        ("import sys, io\nsys.stdin = io.StringIO('4')\nassert f() == 4", "standard input"),
        ("import time\ntime.time = lambda: 0\nassert f() == 0", "replaces time.time"),
        ("import builtins\nbuiltins.input = lambda: '4'\nassert f() == 4", "builtins.input"),
        ("import sys, io\nsys.stdout = io.StringIO()\nf()", None),
        ("import random\nassert f(random.Random(0).random()) < 1", None),
        ("assert f(os.getcwd) and f.seed(3)", None),
        ("assert f() is 'yes'", "the identity of a literal"),
        ("assert 1 < f() is not 300", "the identity of a literal"),
        ("assert (1, 2) is f() or f() is 0.5", "the identity of a literal"),
        ("assert f() is None and f() is not True and f() is 5 and f() is () and f() is ''", None),
    ],
)
def test_what_a_test_does_to_its_own_process_is_a_reason(test: str, reason: str | None) -> None:
    found = reason_against(ast.parse(test))
    assert (found is None) == (reason is None)
    assert reason is None or reason in (found or "")


def test_modules_that_a_test_forgot_to_import_are_found() -> None:
    source = "import re\nassert f(sys.maxsize) == math.pi == own.value == re.A == np.pi"
    assert free_modules(ast.parse(source)) == {"math": "math", "np": "numpy", "sys": "sys"}


@pytest.mark.parametrize(
    ("test", "names"),
    [
        ("x = f(1)\nassert x", ("x",)),
        ("for i, (a, *b) in f(1): pass", ("a", "b", "i")),
        ("def g():\n    global n\n    n = local = 1\ng()", ("g", "n")),
        ("async def g():\n    def h():\n        global n\n        n = 1", ("g", "n")),
        ("class C:\n    x = 1\nassert [y for y in f(1)] == (lambda z: z)(1)", ()),
    ],
)
def test_the_global_names_that_a_test_gives_are_known(test: str, names: tuple[str, ...]) -> None:
    assert assigned_names(ast.parse(test)) == names
