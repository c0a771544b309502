from __future__ import annotations

from egcfg.decoding.answer import AnswerReader
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.prompt import CodeLayout
from egcfg.prompts.wording import answer_start, code_block, task_text, unseen_tests


def given(code: str, entry_point: str | None = "f") -> Problem:
    return Problem(
        task_id="1", description="", entry_point=entry_point, visible_tests=[], given_code=code
    )


def test_a_fence_is_longer_than_those_inside() -> None:
    assert code_block("x\n") == "```python\nx\n```"
    assert code_block("'```'", "") == "````\n'```'\n````"


def test_an_answer_starts_with_the_fence_and_the_given_code() -> None:
    assert answer_start(given("")) == "```python\n"
    assert answer_start(given("\n\ndef f(x):\n")) == "```python\ndef f(x):\n"
    quoted = 'def f(x):\n    """\n```\nf(1)\n```\n"""\n'
    start = answer_start(given(quoted))
    assert start == "````python\n" + quoted
    reader = AnswerReader(CodeLayout.FENCED, "f")
    reader.read(start)
    assert reader.span.end is None


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
