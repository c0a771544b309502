"""What of the code of an answer can run."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.decoding.code import CandidateProgram, distinct_programs, executable_program

WHOLE = '''\
import math


def area(radius):
    """Area of a circle."""
    # no negative circles
    if radius < 0:
        raise ValueError("negative")
    try:
        squared = radius ** 2
    except OverflowError:
        return math.inf
    for _ in range(1):
        squared += 0
    else:
        pass
    return math.pi * squared
'''


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("def f(x):\n    return x", "def f(x):\n    return x"),
        ("def f(x):\n    y = x\n    return (y", "def f(x):\n    y = x"),
        ("def f(x):", "def f(x):\n    pass"),
        ("def f(x):  # the task", "def f(x):\n    pass"),
        ("def f(x):\n    if x == '#':", "def f(x):\n    if x == '#':\n        pass"),
        ("def f(x):\n    if x: # why?: '", "def f(x):\n    if x:\n        pass"),
        (
            "def f(x):\n    s = '''\n    try:\n    '''\n    try:\n        y = 1",
            "def f(x):\n    s = '\\n    try:\\n    '\n    try:\n        y = 1\n"
            "    finally:\n        pass",
        ),
        ("class f:\n    def g(self):", "class f:\n\n    def g(self):\n        pass"),
        ("f: object = abs", "f: object = abs"),
        ("f, g = abs, max", "f, g = (abs, max)"),
        ("from math import gcd as f", "from math import gcd as f"),
        ("if True:\n    f = abs", "if True:\n    f = abs"),
        (
            "try:\n    from x import f\nexcept ImportError:\n    f = abs",
            "try:\n    from x import f\nexcept ImportError:\n    f = abs",
        ),
        ("class A:\n    def f(self):\n        pass", None),
        ("def f(x):\n    for i in x:\n", "def f(x):\n    for i in x:\n        pass"),
        (
            "def f(x):\n    if x:\n        y = 1\n    else:",
            "def f(x):\n    if x:\n        y = 1\n    else:\n        pass",
        ),
        ("def f(x):\n\tif x:", "def f(x):\n    if x:\n        pass"),
        (
            "def f(x):\n    try:\n        y = 1\n        z = 2",
            "def f(x):\n    try:\n        y = 1\n        z = 2\n    finally:\n        pass",
        ),
        ('def f(x):\n    """Only words."""', "def f(x):\n    pass"),
        ("def f(x):\n    return '\\d'", "def f(x):\n    return '\\\\d'"),
        ("def g(x):\n    return x", None),
        ("f = abs", "f = abs"),
        ("", None),
        ("This is no code.", None),
        ("def f(x):\n    return x\x00", "def f(x):\n    pass"),
        ("def f(x):\n    return " + "(" * 500, "def f(x):\n    pass"),
    ],
)
def test_longest_executable_prefix(text: str, program: str | None) -> None:
    assert executable_program(text, "f") == program


def test_comments_and_docstrings_are_dropped() -> None:
    program = executable_program(WHOLE, "area")
    assert program is not None
    assert "circle" not in program
    assert "negative circles" not in program
    assert "raise ValueError('negative')" in program


@given(st.integers(0, len(WHOLE)))
def test_every_cut_of_a_program_is_executable_or_lacks_its_function(end: int) -> None:
    program = executable_program(WHOLE[:end], "area")
    defined = "def area(radius):" in WHOLE[:end]
    assert (program is not None) == defined
    if program is not None:
        ast.parse(program)


@pytest.mark.parametrize("count", range(4, WHOLE.count("\n") + 1))
def test_a_cut_behind_a_line_keeps_every_line_before_it(count: int) -> None:
    cut = "".join(WHOLE.splitlines(keepends=True)[:count])
    stand_ins = {"pass", "finally:"}

    def kept(text: str) -> list[str]:
        program = executable_program(text, "area")
        assert program is not None
        return [line for line in program.split("\n") if line.strip() not in stand_ins]

    assert kept(cut) == kept(WHOLE)[: len(kept(cut))]
    comments = 2  # the docstring and the comment of WHOLE
    blank = 2
    assert len(kept(cut)) >= count - comments - blank - 1


@given(st.text(alphabet="def f(x):\n \treturn'\"#\\[]{}=ty:excp"))
def test_any_text_gives_a_program_that_parses_or_none(text: str) -> None:
    program = executable_program(text, None)
    if program is not None:
        assert executable_program(program, None) is not None


def test_equal_programs_are_counted_not_repeated() -> None:
    texts = [
        "def f(x):\n    return x + 1",
        "def f(x):\n    return (x + 1)  # same",
        "def f(x):\n    return x - 1",
        "no code",
    ]
    assert distinct_programs(texts, "f") == [
        CandidateProgram("def f(x):\n    return x + 1", 2),
        CandidateProgram("def f(x):\n    return x - 1", 1),
    ]
