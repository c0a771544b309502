"""Python text before it is parsed."""

from __future__ import annotations

import io
import token
import tokenize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.decoding.lexing import Lexer, cleaned

CODE = "def f(n):\n    return n + 1"


@pytest.mark.parametrize(
    "left_over",
    ["<|im_end|>", "</s>", "<|endoftext|>", "<\uff5cend▁of▁sentence\uff5c>", "<eos>",
     "<end_of_turn>\n",
     "[/INST]", "</code>", "```", "\n```\nprose", "<|eot_id|><|start_header_id|>user", "\u200b"],
)  # fmt: skip
def test_what_is_stuck_to_the_last_line_is_cut_off(left_over: str) -> None:
    assert cleaned(CODE + left_over).rstrip() == CODE


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("\ufeffx = 1\n", "x = 1\n"),
        ("if x:\n\u00a0\u2003\u3000 y\n", "if x:\n    y\n"),
        ("x\u200b = \u20601\u00ad\n", "x = 1\n"),
        ("x = 1\u2028y = 2\u0085", "x = 1\ny = 2\n"),
        ("x = 1\r\ny = 2\r", "x = 1\ny = 2\n"),
    ],
)
def test_odd_blanks_become_plain_ones(code: str, expected: str) -> None:
    assert cleaned(code) == expected


@pytest.mark.parametrize(
    "code",
    [
        "x = '\u00a0\u200b<|im_end|>```</s>'\n",
        'x = """\n```\n</s>\u2028"""  # \u00a0 <|im_end|>\n',
        "f'''{x}</s>'''\n",
        "a <s> 'b'\n",
        "x = y < s > z\n",
        "return a<b|c>d\n",
    ],
)
def test_strings_comments_and_operators_stay(code: str) -> None:
    assert cleaned(code) == code


LINES = st.sampled_from(
    ["x = 1\n", "'a' 'b'\n", "'''\n", '"""\n', "# '''\n", "f(\n", ")\n", "x = '#'\n", "'\\''\n",
     "x = \\\n", "'\\\n", "'\n", "y\n", "[{\n", "}]\n", "'''a'''\n", "\n"]
)  # fmt: skip


@given(st.lists(LINES, max_size=8).map("".join))
def test_strings_are_told_from_code_as_python_tells_them(text: str) -> None:
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, IndentationError):
        return
    if any(t.type == token.ERRORTOKEN for t in tokens):
        return
    offsets = [0]
    for line in text.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    expected = set()
    for found in tokens:
        if found.type == token.STRING:
            start, end = (offsets[row - 1] + column for row, column in (found.start, found.end))
            expected |= set(range(start, end))
    pieces = list(Lexer().pieces(text))
    assert "".join(text[start:end] for _, start, end in pieces) == text
    assert {n for kind, a, b in pieces if kind == "string" for n in range(a, b)} == expected
