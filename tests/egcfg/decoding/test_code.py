"""Where code begins and ends in a response that still grows, and what of it can run."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.decoding.code import (
    CandidateProgram,
    CodeSpan,
    distinct_programs,
    executable_program,
    extract_code,
    find_code,
)
from egcfg.interfaces.prompt import CodeLayout

FENCED, COMPLETION = CodeLayout.FENCED, CodeLayout.COMPLETION
SIGNATURE = 'def f(x):\n    """Double x."""\n'


def fenced(response: str, entry_point: str | None = "f") -> CodeSpan:
    return find_code(response, FENCED, entry_point)


def code_of(response: str, span: CodeSpan) -> str:
    assert span.start is not None
    return response[span.start : span.end]


class TestFenced:
    @pytest.mark.parametrize("info", ["python", "py", "", "Python3", " python", "{.python}"])
    def test_code_begins_behind_the_opening_fence(self, info: str) -> None:
        response = f"Here it is:\n```{info}\ndef f(x):\n    return x\n```\nDone."
        assert code_of(response, fenced(response)) == "def f(x):\n    return x\n"

    def test_nothing_begins_before_the_fence_line_is_whole(self) -> None:
        assert fenced("Sure! ```python is a fence\n") == CodeSpan()
        assert fenced("```python") == CodeSpan()
        assert fenced("```python\n").start == 10

    def test_a_block_in_another_language_is_skipped(self) -> None:
        response = "```bash\npip install x\n```\nThen:\n```python\ndef f(): pass\n```"
        assert code_of(response, fenced(response)) == "def f(): pass\n"

    def test_an_unfinished_block_in_another_language_holds_no_code(self) -> None:
        assert fenced("```bash\npip install x\n") == CodeSpan()
        assert fenced("```bash\npip install x\n```") == CodeSpan()

    def test_inline_code_with_three_backticks_opens_nothing(self) -> None:
        assert fenced("```f(x)``` is a call\nand more\n") == CodeSpan()

    def test_windows_line_ends(self) -> None:
        response = "```python\r\ndef f(x):\r\n    return x\r\n```\r\n"
        assert code_of(response, fenced(response)) == "def f(x):\r\n    return x\r\n"

    def test_backticks_inside_a_line_or_an_indented_docstring_end_nothing(self) -> None:
        code = 'def f(x):\n    """Use:\n    ```\n    f(1)\n    ```\n    """\n    return "```"\n'
        response = f"```python\n{code}```"
        assert code_of(response, fenced(response)) == code

    def test_half_a_closing_fence_ends_nothing(self) -> None:
        response = "```python\ndef f(x): pass\n``"
        assert fenced(response).end is None
        assert fenced(response + "`").end == len(response) - 2

    def test_a_longer_fence_is_closed_by_an_equally_long_one(self) -> None:
        response = "````python\nx = 1\n```\n````\n"
        assert code_of(response, fenced(response)) == "x = 1\n```\n"

    def test_guidance_waits_for_the_definition(self) -> None:
        response = "```python\nimport math\n\ndef f"
        assert fenced(response).guidance_start is None
        assert fenced(response + "(").guidance_start == len(response) + 1
        assert fenced("def f(\n```python\n").guidance_start is None

    def test_guidance_waits_for_no_other_function(self) -> None:
        assert fenced("```python\ndef fast(x):\n    return f(x)\n").guidance_start is None

    def test_guidance_starts_at_the_fence_without_an_entry_point_or_behind_given_code(self) -> None:
        assert fenced("```\n", None).guidance_start == 4
        assert find_code("```\n", FENCED, "f", SIGNATURE).guidance_start == 4

    def test_a_definition_behind_the_end_starts_no_guidance(self) -> None:
        assert fenced("```python\nx = 1\n```\ndef f(").guidance_start is None


class TestCompletion:
    @pytest.mark.parametrize(
        "after",
        ["def g():", "class A:", "if __name__", "print(f(1))", "This doubles", "```\n", "@wraps"],
    )
    def test_ends_at_the_first_line_outside_of_the_function(self, after: str) -> None:
        response = f"    y = x + x\n\n# a remark\n    return y\n\n{after}"
        span = find_code(response, COMPLETION, "f", SIGNATURE)
        assert (span.start, span.guidance_start) == (0, 0)
        assert response[span.end :] == after

    @pytest.mark.parametrize(
        "body",
        [
            "    y = [\n1, 2,\n]\n    return y\n",
            "    y = '''\ntext ''\n'''\n    return y\n",
            '    y = """\ndef g():\n"""\n    return y\n',
            "    y = 1 + \\\n2\n    return y\n",
            "\ty = '#('\n\treturn y\n",
            "    y = 'it\\'s ('  # (\n    return y\n",
            "    y = 'ü🙂'\r\n\r\n    return y\r\n",
        ],
    )
    def test_column_zero_inside_an_expression_ends_nothing(self, body: str) -> None:
        assert find_code(body, COMPLETION, "f", SIGNATURE).end is None
        assert find_code(body + "x", COMPLETION, "f", SIGNATURE).end == len(body)

    def test_an_unclosed_bracket_does_not_swallow_the_next_function(self) -> None:
        body = "    return sum([x, x)\n"
        assert find_code(body + "y", COMPLETION, "f", SIGNATURE).end is None
        assert find_code(body + "def g():\n", COMPLETION, "f", SIGNATURE).end == len(body)

    def test_an_unfinished_string_ends_with_its_line(self) -> None:
        body = "    return 'x\n"
        assert find_code(body + "print()", COMPLETION, "f", SIGNATURE).end == len(body)

    def test_lines_before_any_body_line_end_nothing(self) -> None:
        response = "\nimport math\n\ndef f(x):\n    return x\nprint(1)"
        assert response[find_code(response, COMPLETION, "f", SIGNATURE).end :] == "print(1)"

    def test_given_code_that_stops_inside_a_line_has_its_body(self) -> None:
        response = "x + 1\nprint(2)"
        assert find_code(response, COMPLETION, "f", "def f(x): return ").end == 6

    def test_a_whole_program_ends_at_a_fence_only(self) -> None:
        response = "def a():\n    pass\nprint(1)\n```"
        assert find_code(response, COMPLETION, None).end == len(response) - 3


class TestExtraction:
    def test_completion_is_given_code_and_its_continuation(self) -> None:
        response = "    return 2 * x\n\nprint(f(2))\n"
        assert extract_code(response, COMPLETION, "f", SIGNATURE) == (
            SIGNATURE + "    return 2 * x\n\n"
        )

    def test_fenced_code_stands_behind_given_code(self) -> None:
        code = extract_code("```python\ndef f(): pass\n```", FENCED, "f", "import math")
        assert code == "import math\ndef f(): pass\n"

    @pytest.mark.parametrize("tail", ["", "`", "``"])
    def test_an_unfinished_fence_is_cut_off(self, tail: str) -> None:
        assert extract_code(f"```python\ndef f(): pass\n{tail}", FENCED, "f") == "def f(): pass\n"

    def test_an_indented_block_is_moved_to_column_zero(self) -> None:
        response = "1. Answer:\n   ```python\n   def f():\n       pass\n   ```\n"
        assert extract_code(response, FENCED, "f") == "def f():\n    pass\n"

    def test_a_forgotten_fence_costs_nothing(self) -> None:
        helper = 'import re\n\ndef g(x):\n    return re.sub("\\d", "", x)\n\n'
        code = helper + "def f(x):\n    return g(x)\n"
        response = f"Here:\n\n{code}This calls g.\n"
        assert extract_code(response, FENCED, "f") == code

    def test_a_truncated_answer_without_fence_is_kept_for_its_syntax_error(self) -> None:
        assert extract_code("def f(x):\n    return (", FENCED, "f") == "def f(x):\n    return ("

    def test_prose_is_no_code(self) -> None:
        assert extract_code("I cannot do that.", FENCED, "f") == ""
        assert extract_code("def g(): pass", FENCED, "f") == ""
        assert extract_code("```python\n```", FENCED, "f", "import math\n") == ""
        assert extract_code("I cannot do that.", FENCED, None) == ""

    def test_a_whole_program_without_fence(self) -> None:
        assert extract_code("print(input())\n", FENCED, None) == "print(input())\n"

    def test_a_model_that_starts_afresh_is_understood(self) -> None:
        response = "```python\ndef f(x):\n    return 2 * x\n```\nDone"
        assert extract_code(response, COMPLETION, "f", "def f(x):\n") == (
            "def f(x):\n    return 2 * x\n"
        )


PIECES = [
    "```", "```python\n", "`", "``", "~", "\n", "\r\n", "\t", "    ", " ", "def f(", "def f(x):\n",
    "def g():", "class A", "if __name__ ", "return x", "# note", "'", '"', "'''", '"""', "\\", "(",
    ")", "[", "]", "ü", "🙂", "\x0c", "\u2028", "x", "import os\n", "```bash\n",
]  # fmt: skip
responses = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@given(
    response=responses,
    layout=st.sampled_from(CodeLayout),
    entry_point=st.sampled_from(["f", None]),
    given_code=st.sampled_from(["", SIGNATURE, "def f(x): ", "x = '''\n"]),
)
def test_a_position_once_found_never_moves(
    response: str, layout: CodeLayout, entry_point: str | None, given_code: str
) -> None:
    found = CodeSpan()
    for length in range(len(response) + 1):
        span = find_code(response[:length], layout, entry_point, given_code)
        for name in ("start", "end", "guidance_start"):
            before = getattr(found, name)
            assert before is None or getattr(span, name) == before, (name, response[:length])
        assert span.start is not None or span == CodeSpan()
        assert span.start is None or span.end is None or span.start <= span.end
        found = span


@given(code=st.text(), tail=st.text())
def test_fenced_code_comes_out_as_it_went_in(code: str, tail: str) -> None:
    if "```" not in code:
        response = f"```python\n{code}\n```{tail}"
        assert code_of(response, fenced(response)) == code + "\n"


@given(response=responses, layout=st.sampled_from(CodeLayout))
def test_extraction_takes_any_text(response: str, layout: CodeLayout) -> None:
    assert isinstance(extract_code(response, layout, "f", SIGNATURE), str)


# --- from code to a program that can run --------------------------------------------------------

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
