from __future__ import annotations

import pytest

from egcfg.problem import AssertTest, Problem
from egcfg.prompts.wording import code_block, preamble, task_text, unseen_tests


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
    ],
)
def test_preamble_is_what_stands_before_the_function(definition: str) -> None:
    before = "import math\n\ndef f2(x):\n    return f(x)\n\n"
    assert preamble(before + definition, "f") == before


def test_preamble_without_the_function_is_everything() -> None:
    assert preamble("import math\n", "f") == "import math\n"
    assert preamble("import (\n", "f") == "import (\n"
    assert preamble("def f(): pass\n", None) == "def f(): pass\n"


def test_a_fence_is_longer_than_those_inside() -> None:
    assert code_block("x\n") == "```python\nx\n```"
    assert code_block("'```'", "") == "````\n'```'\n````"


def test_tests_in_the_given_code_are_not_repeated(humaneval: Problem) -> None:
    assert unseen_tests(humaneval) == []
    assert "It must pass" not in task_text(humaneval)


def test_quotes_and_blanks_hide_no_test() -> None:
    tests = [AssertTest("assert f('a', [1, 2]) == 1"), AssertTest("assert f('b', []) == 1")]
    problem = Problem(
        task_id="1",
        description="",
        entry_point="f",
        visible_tests=tests,
        given_code='def f(s, n):\n    """f("a",[1,2]) == 1"""\n',
    )
    assert unseen_tests(problem) == tests[1:]
