"""Problems read from the prompts of harnesses."""

from __future__ import annotations

import pytest

from egcfg.errors import DataError
from egcfg.harnesses.prompts import problem_from_prompt

STUB = 'import math\n\n\ndef f(x):\n    """Double it.\n    >>> f(2)\n    4\n    """\n'
EXAMPLE = "assert f(2) == 4"


@pytest.mark.parametrize(
    ("text", "given"),
    [
        (STUB, STUB),
        (STUB.rstrip(), STUB),
        (f"Complete it:\n```python\n{STUB}```\nAnswer with code alone.", STUB),
        ("def f(x):\n    # f(2) doubles it\n", "def f(x):\n    # f(2) doubles it\n"),
    ],
)
def test_a_function_without_a_body_is_what_to_complete(text: str, given: str) -> None:
    problem = problem_from_prompt(text)
    assert (problem.task_id, problem.entry_point) == ("f", "f")
    assert problem.given_code == given
    seen = [test.name for test in problem.visible_tests]
    assert seen == ([EXAMPLE] if ">>>" in text else [])


def test_a_stub_alone_is_described_by_its_docstring() -> None:
    assert problem_from_prompt(STUB).description.startswith("Double it.")
    prose = f"Be quick:\n```python\n{STUB}```"
    assert problem_from_prompt(prose).description == prose


def test_some_prompts_import_within_the_function() -> None:
    problem = problem_from_prompt('def f(x):\n    import math\n    """Round x down."""\n')
    assert problem.entry_point == "f"


def test_asserts_say_which_function_to_write_and_are_visible() -> None:
    text = f'"""\nWrite a function that doubles.\n{EXAMPLE}\nassert not f(1) is\n"""\n'
    problem = problem_from_prompt(text, "Mbpp/2")
    assert (problem.task_id, problem.entry_point, problem.given_code) == ("Mbpp/2", "f", "")
    assert [test.name for test in problem.visible_tests] == [EXAMPLE]


def test_a_finished_function_is_an_example_and_nothing_to_complete() -> None:
    text = f"```python\ndef half(x):\n    return x / 2\n```\nNow double:\n{EXAMPLE}\n"
    assert problem_from_prompt(text).entry_point == "f"


@pytest.mark.parametrize("text", ["", "Why is the sky blue?", "```\nx = 1\n```"])
def test_a_prompt_that_shows_no_function_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="t: the prompt shows no function to complete"):
        problem_from_prompt(text, "t")
