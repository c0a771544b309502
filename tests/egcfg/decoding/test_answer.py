"""Where the program of a growing answer begins, and whether the answer is over."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from egcfg.decoding.answer import AnswerReader, CodeSpan
from egcfg.decoding.extraction import code_so_far, extract_code
from egcfg.interfaces.prompt import CodeLayout

FENCED, COMPLETION = CodeLayout.FENCED, CodeLayout.COMPLETION
SIGNATURE = 'def f(x):\n    """Double x."""\n'
DEFINITION = "def f(x):\n    return 2 * x\n"
DRAFT = "```python\ndef f(x):\n    return x\n```\n"


def read(response: str, entry_point: str | None = "f", **values: object) -> AnswerReader:
    reader = AnswerReader(FENCED, entry_point, **values)  # type: ignore[arg-type]
    reader.read(response)
    return reader


def fenced(response: str, entry_point: str | None = "f", **values: object) -> CodeSpan:
    return read(response, entry_point, **values).span


def continued(
    response: str, entry_point: str | None = "f", given_code: str = SIGNATURE
) -> CodeSpan:
    reader = AnswerReader(COMPLETION, entry_point, given_code)
    reader.read(response)
    return reader.span


def code_of(response: str, span: CodeSpan) -> str:
    assert span.start is not None
    return response[span.start : span.end]


class TestFenced:
    @pytest.mark.parametrize(
        "info",
        ["python", "py", "", "Python3", " python", "{.python}", "python title='f.py'", "a/f.py"],
    )
    @pytest.mark.parametrize("fence", ["```", "~~~", "`````"])
    def test_code_begins_after_the_opening_fence(self, fence: str, info: str) -> None:
        response = f"Here it is:\n{fence}{info}\n{DEFINITION}{fence}\nDone."
        span = fenced(response)
        assert code_of(response, span) == DEFINITION
        assert span.over

    @pytest.mark.parametrize("mark", ["", "   ", "- ", "12. ", "        "])
    def test_a_fence_may_be_indented_as_part_of_a_list(self, mark: str) -> None:
        indent = " " * len(mark)
        code = "".join(indent + line for line in DEFINITION.splitlines(keepends=True))
        response = f"{mark}```python\n{code}{indent}```\n"
        assert code_of(response, fenced(response)) == code

    def test_nothing_begins_before_the_fence_line_is_whole(self) -> None:
        assert fenced("Sure! ```python is a fence\n") == CodeSpan()
        assert fenced("```python") == CodeSpan()
        assert fenced("```python\n").start == 10
        assert fenced("Sure: ```python\n").start == 16

    def test_a_block_without_the_entry_point_is_no_answer(self) -> None:
        for block in (
            "```bash\npip install x\n```",
            "```\npip install x\n```",
            "```python\nf(1)\n```",
        ):
            response = f"{block}\nThen:\n```python\n{DEFINITION}```"
            assert not fenced(block).over
            assert code_of(response, fenced(response)) == DEFINITION

    def test_an_unfinished_block_in_another_language_holds_no_code(self) -> None:
        assert fenced("```bash\npip install x\n") == CodeSpan()
        assert fenced("```bash\npip install x\n```") == CodeSpan()

    def test_inline_code_with_three_backticks_opens_nothing(self) -> None:
        assert fenced("```f(x)``` is a call\nand more\n") == CodeSpan()

    def test_a_fence_around_the_whole_answer_is_none(self) -> None:
        response = f"```markdown\nSo:\n```python\n{DEFINITION}```\n```\n"
        assert code_of(response, fenced(response)) == DEFINITION

    @pytest.mark.parametrize("outer", ["````", "````text"])
    def test_a_block_inside_a_longer_fence_is_found(self, outer: str) -> None:
        response = f"{outer}\nSo:\n```python\n{DEFINITION}```\n````\n"
        assert code_of(response, fenced(response)) == DEFINITION

    def test_windows_line_ends(self) -> None:
        response = "```python\r\ndef f(x):\r\n    return x\r\n```\r\n"
        assert code_of(response, fenced(response)) == "def f(x):\r\n    return x\r\n"

    @pytest.mark.parametrize("indent", ["", "    "])
    def test_fences_inside_strings_end_nothing(self, indent: str) -> None:
        code = (
            f'def f(x):\n    """Use:\n{indent}```\nf(1)\n{indent}```\n    """\n    return "```"\n'
        )
        response = f"```python\n{code}```"
        assert code_of(response, fenced(response)) == code

    def test_half_a_closing_fence_ends_nothing(self) -> None:
        response = f"```python\n{DEFINITION}``"
        assert fenced(response).end is None
        assert fenced(response + "`").end == len(response) - 2
        assert fenced(response + "`").over

    def test_a_longer_fence_is_closed_by_an_equally_long_one(self) -> None:
        response = "````python\nx = '''\n```\n'''\n```\n````\n"
        assert code_of(response, fenced(response)) == "x = '''\n```\n'''\n```\n"

    @pytest.mark.parametrize(
        "opening",
        [
            "def f(", "async def f(", "class f:", "class f(", "f = ", "f: object = ", "f, g = ",
            "(g, f) = ", "g = f = ", "from m import f\n", "import f,", "@cache\ndef f(", "def f[",
            "if True:\n    def f(", "try:\n    import f\n", "try:\n    f = ",
        ],
    )  # fmt: skip
    def test_guidance_waits_for_the_definition(self, opening: str) -> None:
        response = "```python\nimport math\n\n" + opening
        assert fenced(response[:-2]).guidance_start is None
        found = fenced(response + "0").guidance_start
        assert found is not None
        assert len(response) - 1 <= found <= len(response)

    @pytest.mark.parametrize(
        "code",
        [
            "def fast(x):\n    return f(x)\n", "class A:\n    def f(self):\n        pass\n",
            "'''\ndef f(x):\n'''\n", "print(f, end='')\n", "f == 2\n", "f += 1\n", "# f = 2\n",
            "def g():\n    f = 1\n", "from m import f as g\n", "f.x = 1\n",
        ],
    )  # fmt: skip
    def test_guidance_waits_for_no_other_definition(self, code: str) -> None:
        assert fenced("```python\n" + code).guidance_start is None

    def test_guidance_starts_at_the_fence_where_no_definition_is_to_come(self) -> None:
        assert fenced("```\n", None).guidance_start == 4
        assert fenced("```\n", given_code=SIGNATURE).guidance_start == 4

    def test_code_without_a_fence_is_code(self) -> None:
        response = "Here:\nimport math\ndef f(x"
        assert fenced(response) == CodeSpan(6, None, len(response) - 1)

    def test_a_fence_may_close_what_none_opened(self) -> None:
        response = f"{DEFINITION}```\n\nUsage:\n```python\nprint(f(1))\n```\n"
        assert code_of(response, fenced(response)) == DEFINITION
        assert fenced(response).over


class TestSeveralAnswers:
    @pytest.mark.parametrize("again", ["def f(", "async def f(", "class f:", "@cache\ndef f("])
    def test_an_answer_is_over_when_its_function_begins_again(self, again: str) -> None:
        for start in ("```python\n", "~~~\n", ""):
            response = f"{start}{DEFINITION}\n{again}"
            assert not fenced(response[:-1]).over
            span = fenced(response)
            assert span.over
            assert code_of(response, span) == DEFINITION + "\n"

    @pytest.mark.parametrize("body", ["...", "pass", '"""Later."""', "raise NotImplementedError"])
    def test_it_is_not_over_while_its_function_is_a_stub(self, body: str) -> None:
        assert not fenced(f"```python\ndef f(x):\n    {body}\n\ndef f(x)").over
        assert not fenced(f"```python\ndef f(x):\n    {body}\n```\n").over

    def test_a_free_answer_may_be_a_first_attempt(self) -> None:
        first = f"Maybe:\n{DRAFT}"
        assert fenced(first).over
        reader = read(first + "This is wrong. ", drafts=True)
        assert reader.span.end is not None  # nothing is guided here
        assert not reader.span.over
        reader.read(first + "This is wrong. Better:\n```python\ndef f(")
        assert reader.span.guidance_start == len(reader.text)
        assert reader.span.end is None

    def test_a_free_answer_is_over_when_it_repeats_itself(self) -> None:
        assert fenced(f"{DRAFT}Again:\n{DRAFT}", drafts=True).over


TAGS = [
    ("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]  # fmt: skip


class TestReasoning:
    @pytest.mark.parametrize("tags", TAGS, ids=str)
    @pytest.mark.parametrize(
        "draft", [DRAFT, "def f(x):\n    return x\n", "```python\ndef f(x):\n"]
    )
    def test_what_is_reasoned_is_no_answer(self, tags: tuple[str, str], draft: str) -> None:
        opening, closing = tags
        reasoning = f"{opening}\nTry:\n{draft}no.\n"
        assert fenced(reasoning) == CodeSpan()
        for answer in (f"\n\n```python\n{DEFINITION}```\n", f"```python\n{DEFINITION}```\n"):
            response = reasoning + closing + answer
            span = fenced(response)
            assert span.over
            assert code_of(response, span) == DEFINITION

    @pytest.mark.parametrize("closing", ["no.\n</think>\n", "no.</think>", "no. </thinking>\n"])
    def test_reasoning_that_the_template_opened(self, closing: str) -> None:
        answer = f"```python\n{DEFINITION}```\n"
        # Where it is known, nothing of it is taken for code; else all of it is forgotten.
        response = f"Try:\n{DRAFT}{closing}{answer}"
        assert fenced(f"Try:\n{DRAFT}", reasoning=True) == CodeSpan()
        assert code_of(response, fenced(response, reasoning=True)) == DEFINITION
        assert code_of(response, fenced(response, drafts=True)) == DEFINITION

    def test_a_tag_that_is_spoken_of_closes_nothing(self) -> None:
        code = "def f(s):\n    return s.split('</think>')[-1]\n"
        response = (
            f"```python\n{code}```\nIt cuts at `</think>`, and the </think> tag is left out.\n"
        )
        assert fenced("<think>It ends in '</think>'.\n" + response) == CodeSpan()
        assert code_of(response, fenced(response, drafts=True)) == code

    def test_a_reflection_after_the_answer_changes_nothing(self) -> None:
        response = f"```python\n{DEFINITION}```\n<reflection>\n{DRAFT}</reflection>\n"
        assert extract_code(response, FENCED, "f") == DEFINITION


class TestCompletion:
    @pytest.mark.parametrize(
        "after",
        ["def g():", "class A:", "if __name__", "print(f(1))", "This doubles", "```\n", "@wraps",
         "</answer>", "def f(x"],
    )  # fmt: skip
    def test_ends_at_the_first_line_outside_of_the_function(self, after: str) -> None:
        response = f"    y = x + x\n\n# a remark\n    return y\n\n{after}"
        span = continued(response)
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
        assert continued(body).end is None
        assert continued(body + "x").end == len(body)

    def test_an_unclosed_bracket_does_not_swallow_the_next_function(self) -> None:
        body = "    return sum([x, x)\n"
        assert continued(body + "y").end is None
        assert continued(body + "def g():\n").end == len(body)

    def test_an_unfinished_string_ends_with_its_line(self) -> None:
        body = "    return 'x\n"
        assert continued(body + "print()").end == len(body)

    def test_lines_before_any_body_line_end_nothing(self) -> None:
        response = "\nimport math\n\ndef f(x):\n    return x\nprint(1)"
        assert response[continued(response).end :] == "print(1)"

    def test_without_a_definition_in_the_given_code_it_is_waited_for(self) -> None:
        response = "def g(x):\n    return x\n\ndef f(x):\n    return g(x)\n\nprint(1)"
        span = continued(response, given_code="import math\n")
        assert response[: span.guidance_start].endswith("def f(")
        assert response[span.end :] == "print(1)"

    def test_given_code_that_stops_inside_a_line_has_its_body(self) -> None:
        response = "x + 1\nprint(2)"
        assert continued(response, given_code="def f(x): return ").end == 6

    def test_a_whole_program_ends_at_a_fence_only(self) -> None:
        response = "def a():\n    pass\nprint(1)\n```"
        assert continued(response, None).end == len(response) - 3

    @pytest.mark.parametrize("start", ["Sure:\n", "", "<think>\nHm.\n    return x\n</think>\n"])
    def test_a_model_that_starts_afresh_is_read_as_markdown(self, start: str) -> None:
        response = f"{start}```python\n{DEFINITION}```\nDone"
        span = continued(response)
        assert code_of(response, span) == DEFINITION
        assert span.over

    def test_after_its_reasoning_it_may_continue_the_given_code(self) -> None:
        response = "<think>\nHm.\n</think>\n    return x\nprint(1)"
        span = continued(response)
        assert code_of(response, span) == "\n    return x\n"


PIECES = [
    "```", "```python\n", "`", "``", "~", "~~~\n", "\n", "\r\n", "\t", "    ", " ", "def f(",
    "def f(x):\n", "class f:\n", "f = 1\n", "def g():", "class A", "if __name__ ", "return x",
    "# note", "'", '"', "'''", '"""', "\\", "(", ")", "[", "]", "ü", "🙂", "\x0c", "\u2028", "x",
    "import os\n", "```bash\n", "<think>", "</think>", "\n</think>\n", "Sure, it is:\n", DRAFT,
    DEFINITION, "    return x\n", "@cache\n",
]  # fmt: skip
responses = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
readers = st.builds(
    AnswerReader,
    layout=st.sampled_from(CodeLayout),
    entry_point=st.sampled_from(["f", None]),
    given_code=st.sampled_from(["", SIGNATURE, "def f(x): ", "x = '''\n"]),
    reasoning=st.booleans(),
    drafts=st.booleans(),
)


@example(response="\t```python\n", reader=AnswerReader(CodeLayout.COMPLETION, "f"))
@example(response="def g():```python\n", reader=AnswerReader(CodeLayout.FENCED, "f"))
@example(response="  1. ~~~\n", reader=AnswerReader(CodeLayout.COMPLETION, "f"))
@example(response="\t<think>", reader=AnswerReader(CodeLayout.COMPLETION, "f"))
@given(response=responses, reader=readers)
def test_an_answer_that_grows_is_read_as_the_same_text_at_once(
    response: str, reader: AnswerReader
) -> None:
    found = CodeSpan()
    for length in range(len(response) + 1):
        reader.read(response[:length])
        at_once = AnswerReader(
            reader.layout, reader.entry_point, reader.given_code, reader.reasoning, reader.drafts
        )
        at_once.read(response[:length])
        span = reader.span
        assert at_once.span == span
        assert at_once.passages == reader.passages
        assert span.start is not None or span == CodeSpan()
        assert span.start is None or span.end is None or span.start <= span.end
        if "think" not in response:  # else all of it may turn out to be reasoning
            # Once it is over, it is over, at the same place; and no position in a program moves.
            assert not found.over or span == found
            if span.start == found.start and span.start is not None:
                assert found.guidance_start in (None, span.guidance_start)
                assert found.end is None or evolve(span, over=found.over) == found
        found = span


@example(
    response="def f(x):\n    return 2 * x\n```",
    reader=AnswerReader(CodeLayout.COMPLETION, "f", SIGNATURE),
)
@given(response=responses, reader=readers)
def test_where_an_answer_is_over_its_program_is_the_one_that_is_taken_out(
    response: str, reader: AnswerReader
) -> None:
    for length in range(len(response) + 1):
        reader.read(response[:length])
        if reader.span.over and reader.entry_point and not reader.drafts:
            so_far = code_so_far(reader)
            if reader.is_answer(so_far):
                whole = extract_code(
                    response[:length], reader.layout, reader.entry_point, reader.given_code
                )
                # A function that the answer repeats takes the place of the stub that was given.
                repeated = so_far.removeprefix(reader.given_code)
                assert whole.strip() in (so_far.strip(), repeated.strip())
            break


@given(code=st.text(), tail=st.text())
def test_fenced_code_comes_out_as_it_went_in(code: str, tail: str) -> None:
    if "```" not in code and not any(c in code for c in "'\"\\/|[◁"):
        response = f"```python\n{code}\n```{tail}"
        reader = read(response)
        assert code in reader.passages[1].text or code_of(response, reader.span) == code + "\n"
