"""What every wording shares: how a task, its tests and its given code are shown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from egcfg.interfaces.problem import AssertTest, Problem, StdioTest, TestCase, find_call

__all__ = [
    "answer_start",
    "code_block",
    "description_is_given",
    "request",
    "task_text",
    "tests_text",
    "unseen_tests",
]


def task_text(problem: Problem) -> str:
    """Return the task in words, its given code and its visible tests."""
    parts = []
    if not description_is_given(problem):
        parts.append(problem.description.strip())
    if problem.given_code:
        parts.append("Complete this function:\n" + code_block(problem.given_code))
    tests = unseen_tests(problem)
    if tests:
        parts.append(tests_text(tests))
    return "\n\n".join(parts)


def request(problem: Problem) -> str:
    """Return what is asked for, as a noun phrase."""
    if problem.entry_point is None:
        return "a Python program that reads standard input and prints its result"
    return f"the Python function `{problem.entry_point}`"


def tests_text(tests: Sequence[TestCase]) -> str:
    """Return tests with a sentence before them."""
    pairs = [test for test in tests if isinstance(test, StdioTest)]
    if pairs:
        shown = (f"Input:\n{p.stdin.rstrip()}\nOutput:\n{p.stdout.rstrip()}" for p in pairs)
        return "For example:\n" + code_block("\n\n".join(shown), "")
    return "It must pass these tests:\n" + code_block("\n".join(test.name for test in tests))


def code_block(code: str, language: str = "python") -> str:
    """Return `code` in a Markdown fence that is longer than any fence in it."""
    fence = _fence(code)
    return f"{fence}{language}\n{code.rstrip()}\n{fence}"


def answer_start(problem: Problem) -> str:
    """Return what a fenced answer is made to start with: the fence, and the given code.

    With the given code there already, the model need not spend tokens on repeating it.
    """
    given_code = problem.given_code.lstrip("\n")
    return f"{_fence(given_code)}python\n{given_code}"


def description_is_given(problem: Problem) -> bool:
    """Whether the given code already contains the description, as its docstring."""
    return " ".join(problem.description.split()) in " ".join(problem.given_code.split())


def unseen_tests(problem: Problem) -> list[TestCase]:
    """Return the visible tests whose call the given code does not already contain."""
    given = _bare(problem.given_code)
    tests = []
    for test in problem.visible_tests:
        call = None
        if isinstance(test, AssertTest) and problem.entry_point:
            call = find_call(test.source, problem.entry_point)
        if call is None or _bare(call) not in given:
            tests.append(test)
    return tests


def _fence(code: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    return "`" * max(3, longest + 1)


def _bare(code: str) -> str:
    """`code` without what normalising may change: blanks and the kind of quotes."""
    return re.sub(r"\s+", "", code).replace('"', "'")
