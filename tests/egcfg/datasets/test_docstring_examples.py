from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.datasets.docstring_examples import docstring_asserts


def asserts(docstring: str, signature: str = "f(x)") -> list[str]:
    return docstring_asserts(f'def {signature}:\n    """{docstring}"""\n', "f")


@pytest.mark.parametrize(
    "example",
    [
        ">>> f([1, 2])\n    3",
        ">>>f([1, 2])\n    3",
        ">>> f([1,\n    ...    2])\n    3\n    where 3 is the sum",
        "f([1, 2]) == 3",
        "assert f([1, 2]) => 3",
        "* f([1, 2]) ==> 3.",
        "f([1, 2]) -> 3",
        "f([1, 2]) ➞ 3",
        "f([1,2])=3  # because",
        "f([1, 2])  # returns 3",
        "f([1, 2]) should return 3",
        "f([1, 2]) will return: 3",
        "f([1,\n       2]) == 3",
        "f([1, 2]) -> 1 + 2 = 3",
        "For x = [1, 2] the output should be 3",
        "For x = [1, 2], the output should be 3.",
        "Input: [1, 2]\n    Output: 3\n    Explanation: the sum",
        "Input: x = [1, 2]\n    Output: 3",
        "f([1, 2]) -> 3 (the sum)",
    ],
)
def test_an_example_is_understood(example: str) -> None:
    assert asserts(f"Add up.\n\n    {example}\n    ") == ["assert f([1, 2]) == 3"]


@pytest.mark.parametrize(
    "example",
    [
        "f(y) == 3",  # a name is no literal
        "f(2) == y",
        "f(2) -> 1 + 2",  # arithmetic without its value
        "f(2) == 3 or 4",
        "f(2) is 3",
        "f(2) == ('a')",  # a tuple that lost its comma, or a text?
        ">>> g(2)\n    3",
        ">>> f(2)\n    Traceback (most recent call last):\n    ValueError",
        ">>> f(2)",
        ">>> f(2) == \n",
        "f(2",
        "For y = 2 the output should be 3",
        "For numbers, the output should be 3",
        "Input: 1, 2\n    Output: 3",
    ],
)
def test_what_is_not_certain_is_left_out(example: str) -> None:
    assert asserts(f"Do it.\n\n    {example}\n    ") == []


def test_values_are_written_as_python_writes_them() -> None:
    assert asserts('\n    f("a") => true\n    f("b") => False\n') == [
        "assert f('a') == True",
        "assert f('b') == False",
    ]
    assert asserts("\n    >>> f(1)\n    [[1,\n      2],\n     [3]]\n") == [
        "assert f(1) == [[1, 2], [3]]"
    ]


def test_an_escape_in_an_example_stays_one() -> None:
    assert asserts("\n    >>> f('a\\nb')\n    '\\t'\n    ") == ["assert f('a\\nb') == '\\t'"]


def test_an_expression_around_the_call_is_kept() -> None:
    assert asserts("\n    >>> round(f([1, 2]), 2)\n    -0.5\n    ") == [
        "assert round(f([1, 2]), 2) == -0.5"
    ]


def test_named_inputs_follow_the_parameters() -> None:
    text = "\n    Input: a = 1, b = 'x'\n    Output: 'xa'\n    "
    assert asserts(text, "f(a, b)") == ["assert f(1, 'x') == 'xa'"]
    assert asserts(text, "f(b, a)") == []


def test_a_call_counts_once() -> None:
    text = "\n    >>> f(1)\n    2\n\n    f(3) == 4\n    f(1) == 5\n"
    assert asserts(text) == ["assert f(1) == 2", "assert f(3) == 4"]


def test_only_the_docstring_of_the_function_itself_counts() -> None:
    helper = 'def g(x):\n    """f(1) == 2"""\n    return x\n\n'
    assert docstring_asserts(helper + "def f(x):\n    return g(x)\n", "f") == []
    assert docstring_asserts(helper, "f") == []
    assert docstring_asserts("def f(x:", "f") == []


@given(docstring=st.text(alphabet=st.sampled_from("f(x1,2)[]'>=-# \n.➞ré\\Foroutput"), max_size=60))
def test_any_docstring_gives_valid_asserts(docstring: str) -> None:
    for statement in asserts(docstring + "\n"):
        (node,) = ast.parse(statement).body
        assert isinstance(node, ast.Assert)
