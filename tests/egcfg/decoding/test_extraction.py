"""Which text of a whole answer is its program."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.decoding.extraction import extract_code
from egcfg.interfaces.prompt import CodeLayout

FENCED, COMPLETION = CodeLayout.FENCED, CodeLayout.COMPLETION
GIVEN = 'import math\n\ndef half(x):\n    return x / 2\n\n\ndef f(x):\n    """Halve x."""\n'

PROGRAMS = [
    "def f(x):\n    return 2 * x\n",
    "import math\n\n\ndef g(x):\n    return math.floor(x)\n\n\ndef f(x):\n    return g(x)  # a\n",
    "class f:\n    def __init__(self, x):\n        self.x = x\n",
    "f = lambda x: 2 * x\n",
    "f: object = abs\n",
    "f, g = abs, max\n",
    "from functools import cache\n\n@cache\ndef f(x):\n    return x\n",
    "async def f(x):\n    return x\n",
    "try:\n    from nowhere import f\nexcept ImportError:\n    def f(x):\n        return x\n",
    "if True:\n    def f(x):\n        return x\n",
    'def f(x):\n    """Use:\n\n```\nf(1)\n```\n    """\n    return "</think>", "<|im_end|>"\n',
    "def f(x):\n    return '```', '~~~', '\u00a0\u200b', '<think>'\n",
    "def f(x):\r\n\r\n\tif x:\r\n\t\treturn 1\r\n\treturn 2\r\n",
    "def f(x):\n    return f(x - 1) if x else 0\n\n\nassert f(1) == 0\n",
]
WRONG = "def f(*args):\n    return None\n"


def block(code: str, fence: str = "```", info: str = "python") -> str:
    return f"{fence}{info}\n{code}{fence}\n"


def indented(code: str, by: int) -> str:
    return "".join(" " * by + line for line in code.splitlines(keepends=True))


USAGE = block("n = f(1)\nprint(n)\n")
STUB = block("def f(x):\n    ...\n")
TEST = block("from solution import f\n\nassert f(1)\n")
FORMS = {
    "bare": lambda c: c,
    "fenced": block,
    "without a label": lambda c: block(c, info=""),
    "another label": lambda c: block(c, info="code"),
    "tildes": lambda c: block(c, "~~~~"),
    "among prose": lambda c: f"Sure, here it is:\n\n{block(c)}\nThis works:\n- `f` is called.\n",
    "bare among prose": lambda c: f"Here is my solution.\n\n{c}\nIt is quick, I think.\n",
    "in a list": lambda c: f"1. So:\n\n   ```python\n{indented(c, 3)}   ```\n2. Done\n",
    "in a longer fence": lambda c: f"````\nSo:\n{block(c)}````\n",
    "in Markdown in a fence": lambda c: f"```markdown\nSo:\n{block(c)}\n```\n",
    "never closed": lambda c: f"So:\n```python\n{c}",
    "never opened": lambda c: f"{c}```\nIt is quick.\n",
    "never opened, then usage": lambda c: f"{c}```\n\nUsage:\n{block('print(f(1))')}",
    "on one line with words": lambda c: f"Here it is: {block(c)}",
    "after reasoning": lambda c: f"<think>\n{block(WRONG)}no\n</think>\n\n{block(c)}",
    "bare after bare reasoning": lambda c: f"<thinking>\n{WRONG}no\n</thinking>\n{c}",
    "after unopened reasoning": lambda c: f"Hm.\n{block(WRONG)}no.\n</think>\n\n{block(c)}",
    "in the final channel": lambda c: (
        f"<|channel|>analysis<|message|>{WRONG}<|end|><|start|>assistant"
        f"<|channel|>final<|message|>{block(c)}"
    ),
    "after a first attempt": lambda c: f"First:\n{block(WRONG)}Wrong. Better:\n{block(c)}",
    "after a bare attempt": lambda c: f"{WRONG}\nThis is wrong, so again:\n\n{c}",
    "after a shell block": lambda c: f"{block('pip install it', info='')}{block(c)}",
    "after its usage": lambda c: f"{USAGE}Where:\n{block(c)}",
    "after its signature": lambda c: f"{STUB}{block(c)}",
    "before its usage": lambda c: f"{block(c)}Usage:\n{USAGE}{block('2', info='')}",
    "before a test": lambda c: f"{block(c)}{TEST}",
    "before its signature": lambda c: f"{block(c)}{STUB}",
    "before a reflection": lambda c: f"{block(c)}<reflection>\n{block(WRONG)}</reflection>\n",
    "with an end token": lambda c: f"{c.rstrip()}<|im_end|>",
    "with an end token after a fence": lambda c: f"{block(c)[:-1]}</s>\n<|user|>\nThanks",
    "in tags": lambda c: f"<s>[PYTHON]\n{c}[/PYTHON]\n</s>",
    "with a byte order mark": lambda c: f"\ufeff{c}",
    "twice": lambda c: block(c) + block(c),
}


@pytest.mark.parametrize("code", PROGRAMS)
@pytest.mark.parametrize("form", FORMS)
def test_a_program_comes_out_of_every_form_of_answer(form: str, code: str) -> None:
    found = extract_code(FORMS[form](code), FENCED, "f")
    assert ast.dump(ast.parse(found)) == ast.dump(ast.parse(code))


@pytest.mark.parametrize("form", [f for f in FORMS if f != "bare"])
@pytest.mark.parametrize(
    "fresh", ["def f(x):\n    return half(math.ceil(x))\n", "    return half(math.ceil(x))\n"]
)
def test_a_fresh_start_gets_the_given_imports_and_helpers(form: str, fresh: str) -> None:
    if fresh[0] == " " and "bare" in form:
        return  # a body that prose surrounds is not told from a quotation
    names: dict[str, object] = {}
    exec(extract_code(FORMS[form](fresh), COMPLETION, "f", GIVEN), names)  # our own text
    function = names["f"]
    assert callable(function)
    assert function(2.5) == 1.5


@pytest.mark.parametrize(
    "body",
    [
        "return half(x)\n",
        " return half(x)\n",
        "y = x\n    return half(y)\n",
        "    \n        y = x\n        return half(y)\n",
    ],
)
@pytest.mark.parametrize("form", [block, str])
def test_a_body_may_have_lost_its_indent(form: object, body: str) -> None:
    assert callable(form)
    found = extract_code(form(body), COMPLETION, "f", GIVEN)
    assert "\n    return half(" in found
    assert found.startswith(GIVEN)
    ast.parse(found)


@given(
    code=st.sampled_from(PROGRAMS),
    fence=st.sampled_from(["```", "~~~", "````", "~~~~~"]),
    info=st.sampled_from(["", "python", "py3", "Python title=x", "text"]),
    before=st.sampled_from(["", "So:\n", "```\n$ ls\n```\n", "- one\n- two\n\n", "#### Answer\n"]),
    after=st.sampled_from(["", "\nDone.\n", "\n```\n3\n```\n", "\n> quoted\n", "<|endoftext|>"]),
    by=st.integers(0, 5),
)
def test_any_fence_gives_its_program(
    code: str, fence: str, info: str, before: str, after: str, by: int
) -> None:
    answer = before + indented(f"{fence}{info}\n{code}{fence}", by) + after
    found = extract_code(answer, FENCED, "f")
    tree = ast.parse(found)
    # The lines of a string are indented along.
    if by == 0 or '"""' not in code:
        assert ast.dump(tree) == ast.dump(ast.parse(code))


class TestSeveralBlocks:
    def test_a_helper_is_taken_from_another_block(self) -> None:
        helper, main = "def one():\n    return 1\n", "def f(n):\n    return n + one()\n"
        usage = "one = 3\nprint(f(one))\n"
        for answer in (
            block(helper) + block(main),
            block(main) + block(helper),
            block(helper) + "Then:\n" + block(main) + block("print(f(3))\n"),
        ):
            assert extract_code(answer, FENCED, "f") == helper + main
        assert extract_code(block(usage) + block(PROGRAMS[0]), FENCED, "f") == PROGRAMS[0]

    def test_imports_of_another_block_are_taken_along(self) -> None:
        main = "def f(n):\n    return math.sqrt(n)\n"
        assert (
            extract_code(block("import math\nimport os\n") + block(main), FENCED, "f")
            == "import math\n" + main
        )

    def test_a_function_over_two_blocks(self) -> None:
        found = extract_code(
            block("def f(n):\n    if n:\n") + "and\n" + block("        return 1\n"), FENCED, "f"
        )
        ast.parse(found)

    def test_known_code_supplies_what_is_lacking_and_no_more(self) -> None:
        main = "def f(x):\n    return half(x)\n"
        known = "import math\n\ndef half(x):\n    return x / 2\n"
        assert extract_code(block(main), FENCED, "f", known=known) == (
            "def half(x):\n    return x / 2\n" + main
        )

    def test_a_whole_program_is_the_one_that_reads_and_prints(self) -> None:
        program = "a, b = map(int, input().split())\nprint(a + b)\n"
        shown = block("2 3\n", info=""), block("5\n", info="")
        assert extract_code(shown[0] + block(program) + shown[1], FENCED, None) == program
        assert extract_code(block(program) + block("print(2 + 3)\n"), FENCED, None) == program
        assert extract_code(f"Like so:\n\n{program}\nDone.", FENCED, None) == program


class TestWithoutAProgram:
    def test_a_truncated_answer_is_kept_for_its_syntax_error(self) -> None:
        assert extract_code("def f(x):\n    return (", FENCED, "f") == "def f(x):\n    return ("

    @pytest.mark.parametrize("tail", ["", "`", "``", "~"])
    def test_an_unfinished_fence_is_cut_off(self, tail: str) -> None:
        assert extract_code(f"```python\n{PROGRAMS[0]}{tail}", FENCED, "f") == PROGRAMS[0]

    @pytest.mark.parametrize(
        "answer",
        ["I cannot do that.", "def g(): pass", "```python\n```", "", "<think>\n" + block(WRONG)],
    )
    def test_prose_and_reasoning_are_no_code(self, answer: str) -> None:
        assert extract_code(answer, FENCED, "f", "import math\n") == ""

    def test_a_word_after_bare_code_is_none_of_it(self) -> None:
        assert extract_code(f"So:\n{PROGRAMS[0]}\nDone\n\nBye!", FENCED, "f").strip() == (
            PROGRAMS[0].strip()
        )

    def test_a_statement_cut_off_at_the_end_takes_nothing_along(self) -> None:
        assert extract_code(f"```python\n{PROGRAMS[0]}\nprint(f(", FENCED, "f").strip() == (
            PROGRAMS[0].strip()
        )


@given(
    st.lists(st.sampled_from([*PROGRAMS, "```\n", "~~~", "x = '''\n", "</think>", "\0", "("]))
    .map("".join)
    .filter(lambda text: len(text) < 2000),
    st.sampled_from(CodeLayout),
)
def test_extraction_takes_any_text(text: str, layout: CodeLayout) -> None:
    found = extract_code(text, layout, "f", GIVEN)
    if layout is COMPLETION:
        assert found == "" or "def half" in found
