from __future__ import annotations

import ast
from collections.abc import Callable

import attrs
import pytest

from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.prompt import CodeLayout, Prompt
from egcfg.prompts.completion import CompletionPrompt

Build = Callable[..., Prompt]


@pytest.fixture
def build() -> Build:
    def build_one(problem: Problem, **changes: object) -> Prompt:
        changed = attrs.evolve(problem, **changes)  # type: ignore[arg-type]
        return CompletionPrompt(CompletionPrompt.Options()).build(changed)

    return build_one


def test_given_code_is_the_prompt_as_it_is(build: Build, humaneval: Problem) -> None:
    prompt = build(humaneval)
    assert prompt.unconditional().text == humaneval.given_code == prompt.given_code
    assert prompt.layout is CodeLayout.COMPLETION


def test_what_given_code_does_not_say_stands_before_it(
    build: Build, signature_only: Problem
) -> None:
    prompt = build(signature_only)
    assert prompt.before == ("# Double the number x.\n#\n# >>> f(3)\n# 6\n\n",)
    assert prompt.after == (prompt.given_code,) == (signature_only.given_code,)


def test_without_given_code_there_is_a_signature_with_examples(
    build: Build, double: Problem
) -> None:
    assert build(double).unconditional().text == (
        "def f(a):\n"
        '    """Write a function to double a number.\n'
        "\n"
        "    >>> f(2)\n"
        "    4\n"
        "    >>> f(-1)\n"
        "    -2\n"
        '    """\n'
    )


@pytest.mark.parametrize(
    ("tests", "signature"),
    [
        (["assert f() == 1"], "def f():"),
        (["assert f(1, [2], 'c') == 1"], "def f(a, b, c):"),
        (["assert f(1) == 1", "assert f(1, 2) == 1"], "def f(a, b=None):"),
        (["assert f(1, deep=True) == 1"], "def f(a, deep=None):"),
        (["assert set(f(1, 2)) == {1}"], "def f(a, b):"),
        ([], "def f(a):"),
    ],
)
def test_the_signature_fits_every_call(
    build: Build, double: Problem, tests: list[str], signature: str
) -> None:
    prompt = build(double, visible_tests=[AssertTest(t) for t in tests])
    assert prompt.given_code.splitlines()[0] == signature


def test_the_description_may_name_the_parameters(build: Build, double: Problem) -> None:
    text = "Call f(1) or f(); write f(number), that doubles."
    assert build(double, description=text).given_code.startswith("def f(number):\n")
    assert build(double, description="f(x, y)").given_code.startswith("def f(a):\n")


@pytest.mark.parametrize("text", ['Say """hi"""', "C:\\new\\table", 'Ends in "', "Ends in \\", "é"])
def test_any_description_makes_a_docstring_that_parses(
    build: Build, double: Problem, text: str
) -> None:
    (function,) = ast.parse(build(double, description=text).given_code).body
    assert isinstance(function, ast.FunctionDef)
    docstring = ast.get_docstring(function)
    assert docstring is not None
    assert docstring.startswith(text.replace('"""', "'''"))


def test_other_asserts_are_shown_as_they_are(build: Build, double: Problem) -> None:
    tests = [AssertTest("assert not f(0)"), AssertTest("assert f(\n1)")]
    text = build(double, visible_tests=tests).given_code
    assert "    >>> assert not f(0)\n    >>> assert f(\n    >>> 1)\n" in text


def test_a_whole_program_begins_with_its_docstring(build: Build, program: Problem) -> None:
    assert build(program).given_code == (
        '"""Print the line as it is.\n\nInput:\nseen in\nOutput:\nseen out\n"""\n'
    )


def test_the_signal_is_a_string_before_the_code(build: Build, double: Problem) -> None:
    first, *_ = ast.parse(build(double).conditional("f(2) -> 5").text + "    pass\n").body
    assert isinstance(first, ast.Expr)
    assert "f(2) -> 5" in ast.literal_eval(first.value)
