"""Reading of answers: every form that models use, missing parts, and any text at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.methods.reading import (
    items,
    judgements,
    made_asserts,
    made_calls,
    number,
    part,
    verdict,
)


def asserts(text: str, function: str = "f") -> list[str]:
    return [test.source for test in made_asserts(text, function)]


@pytest.mark.parametrize(
    "text",
    [
        "assert f(2) == 4\nassert f('a') == 'b'",
        "Here they are:\n```python\nassert f(2) == 4  # twice\nassert f('a') == 'b', 'm'\n```\nOk",
        "1. `assert f(2) == 4`\n2. `assert f('a') == 'b'`\n",
        "- assert f(2) == 4,\n- assert f('a') == 'b',",
        "def test():\n    assert f(2) == 4\n    assert f('a') == 'b'\n",
        "class T(TestCase):\n    def test(self):\n        self.assertEqual(f(2), 4)\n"
        "        self.assertEqual(f('a'), 'b', 'no')\n",
        "f(2) == 4\nf('a') == 'b'",
        ">>> f(2)\n4\n>>> f('a')\n'b'\n",
        "For instance, `f(2) == 4` should hold.\nTest 2: assert f('a') == 'b'",
        "[\"assert f(2) == 4\", \"assert f('a') == 'b'\"]",
        'Tests: {"tests": [{"test": "assert f(2) == 4"}, {"test": "assert f(\'a\') == \'b\'"}]}',
        "[\n'assert f(2) == 4',\n\"assert f('a') == 'b'\",\n]",
        "assert f(\n    2\n) == 4\nassert f(\n    'a'\n) == 'b'",
        "<test>\nassert f(2) == 4\n</test><test>\nassert f('a') == 'b'",
    ],
)
def test_asserts_are_read_in_every_form(text: str) -> None:
    assert asserts(text) == ["assert f(2) == 4", "assert f('a') == 'b'"]


def test_asserts_about_truth_are_read() -> None:
    text = "self.assertTrue(f(1))\nself.assertFalse(f(2))\nassert not f(3)"
    assert asserts(text) == ["assert f(1)", "assert not f(2)", "assert not f(3)"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot write tests.",
        "assert g(2) == 4",  # about another function
        "assert True",
        "assert f(2) ==",
        "def f(x):\n    return f(x - 1) == 4\n",
        "assert f(" + "[" * 500 + "]" * 500 + ") == 1",
        "assert f(2) == " + "1 + " * 200 + "1",  # deeper than what visits it later can go
        "assert f(2) == " + "9" * 2000,
        "\x00assert f(2) == 4\x00\x00",
    ],
)
def test_what_is_no_assert_about_the_function_is_left_out(text: str) -> None:
    assert asserts(text) == []


def test_an_assert_counts_once() -> None:
    assert asserts("assert f(2) == 4\nassert f( 2 ) == 4") == ["assert f(2) == 4"]


@pytest.mark.parametrize(
    "text",
    [
        "<problem>one\n1</problem> <problem>\ntwo</problem>",
        "<problem>one\n1\n<problem id='2'>\ntwo",
        "## Problem 1:\none\n1\n\n## Problem 2:\ntwo\n",
        "Sure!\n**Problem 1**\none\n1\n**Problem 2**\ntwo",
        '```json\n["one\\n1", "two"]\n```',
        'Here: {"problems": ["one\\n1", "two"]}',
    ],
)
def test_items_are_read_in_every_form(text: str) -> None:
    assert [item.rstrip("`\n") for item in items(text, "problem")] == ["one\n1", "two"]


def test_an_item_of_json_is_shown_with_its_keys() -> None:
    text = '[{"statement": "add", "steps": ["one", "two"]}]'
    assert items(text, "problem") == ["statement: add\nsteps: one\ntwo"]


def test_prose_has_no_items() -> None:
    assert items("A problem like [1, 2] is sorting.", "problem") == []
    assert items("", "problem") == []


@pytest.mark.parametrize(
    "text",
    [
        "<advice>\nsort first\n</advice> bye",
        "before <advice>sort first",
        "## Problem 1\nx\n## Advice\nsort first\n## More\ny",
        "**Advice:** sort first",
        'So: {"advice": "sort first"}',
    ],
)
def test_a_part_is_read_in_every_form(text: str) -> None:
    assert part(text, "advice") == "sort first"


def test_a_part_that_is_missing_is_none() -> None:
    assert part("I advise nothing", "advice") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("confidence: 85", 85),
        ("<confidence>85</confidence>", 85),
        ('{"confidence": 85}', 85),
        ("Step 1 is fine. My confidence in this is about 85.", 85),
        ("I took 3 looks at it; I am 85% sure", 85),
        ("**Confidence:** 0.85", 85),
        ("confidence: 8.5/10", 85),
        ("85", 85),
        ("confidence: 100", 100),
        ("confidence: 0", 0),
        ("confidence: high", None),
        ("confidence: 5000", None),
        ("", None),
    ],
)
def test_a_confidence_is_read_in_every_form(text: str, value: float | None) -> None:
    assert number(text, "confidence") == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    "text",
    [
        "Block 1: right\nBlock 2: wrong, because x is 3\n",
        "[BLOCK-1] This is correct.\n[BLOCK-2] This is incorrect: x is 3",
        "**Block 1** no bugs here\n**Block 2** It is not right, x is 3.",
        "- block #1 - OK\n- block #2 - there is a mistake: x is 3",
        '[{"block": 1, "correct": true}, {"block": 2, "correct": false, "why": "x is 3"}]',
        "Block 1 isn't wrong. Block number 2 contains an error, x is 3",
    ],
)
def test_judgements_of_blocks_are_read_in_every_form(text: str) -> None:
    judged = judgements(text, "block")
    assert {n: judgement.right for n, judgement in judged.items()} == {1: True, 2: False}
    assert "x is 3" in judged[2].reason


def test_of_an_answer_that_was_cut_the_last_line_is_no_assert() -> None:
    text = "assert f(1) == 2\nassert f([1, 2, 3])"  # == 6 was to follow
    assert [test.source for test in made_asserts(text, "f", cut=True)] == ["assert f(1) == 2"]
    assert len(made_asserts(text, "f")) == 2


def test_words_of_a_thing_that_the_answer_repeats_are_no_judgement() -> None:
    text = "Test 1: assert f(1) == False\nright\nTest 2: assert f(2) == True\n"
    judged = judgements(text, "test", ["assert f(1) == False", "assert f(2) == True"])
    assert {n: judgement.right for n, judgement in judged.items()} == {1: True}


def test_a_block_without_a_verdict_is_missing() -> None:
    assert judgements("Block 1: hm\nBlock 2: right", "block").keys() == {2}
    assert judgements("All of it looks good to me", "block") == {}


def test_judgements_of_other_things_are_read_by_their_label() -> None:
    judged = judgements("Test 1: right. Block 2: wrong\nTest 2 is wrong", "test")
    assert {n: judgement.right for n, judgement in judged.items()} == {1: True, 2: False}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2 gives 3, which is wrong, so I start anew: 4.\nverdict: right", True),
        ("All is right up to there.\n**Verdict:** `wrong`", False),
        ("verdict: right or wrong?\nI say:\nverdict: not right", False),
        ("<verdict>\nwrong\n</verdict>", False),
        ("End with `verdict: right` or `verdict: wrong`.", None),
        ("It returns `False` otherwise. The test is `assert f(2) == True`.", None),
        ("The tests are:\n- `assert f(2) == True", None),  # cut
        ("So it is `right`.\n```python\nreturn False\n```", True),
        ("verdict: right\n\nEnd with `verdict: right` if so, else with `verdict: wrong`.", True),
        ('{"verdict": true}', True),
        ('{"verdict": "pass", "why": "no"}', True),
        ("My verdict is that the program passes this test.", True),
        ("Verdict: it doesn't pass", False),
        ("Verdict: No.", False),
        ("Verdict: no mistakes", True),
        ("Verdict: yes", True),
        ("Verdict: rejected", False),
        ("First I thought it wrong, but it is correct.", True),
        ("It is not correct.", False),
        ("The function correctly returns the pairs. The tests cover several cases.", True),
        ("It incorrectly returns a list.", False),
        ("All tests pass, so that it behaves as expected.", True),
        ("No, the last test fails. There is no more to say.", False),
        ("The right verdict is hard to find.", True),  # by the last word that judges
        ("verdict: 42", None),
        ("It gives 4.", None),
        ("", None),
    ],
)
def test_a_verdict_is_read_in_every_form(text: str, said: bool | None) -> None:
    assert verdict(text) is said


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(f(2))\nprint(f('a)', [1, (2, 3)]))\n```",
        "1. `f(2)`\n2. `f('a)', [1, (2, 3)])`, and again `f( 2 )`",
        "assert f(2) == 4\nassert f('a)', [1,\n (2, 3)]) == 1",
        "def f(x):\n    return g.f(5) + f(x)\nf(2), f('a)', [1, (2, 3)])",
        "print(f(f(x)), f(2))\nx = f('a)', [1, (2, 3)])",
    ],
)
def test_calls_are_read_wherever_they_are(text: str) -> None:
    assert made_calls(text, "f") == ["f(2)", "f('a)', [1, (2, 3)])"]


@pytest.mark.parametrize("text", ["", "f", "f(", "f(x)", "f(2", "f(" + "[" * 500 + "]" * 500 + ")"])
def test_what_is_no_whole_call_with_values_is_left_out(text: str) -> None:
    assert made_calls(text, "f") == []


PIECES = st.sampled_from(
    ["assert ", "f(", "f(2) == 4", "\n", "[", "]", "{", "}", '"', "`", "```", ">>> ", "block 1",
     "wrong", "<problem>", "## problem 1", "confidence", ": ", "9", "/", "0", ".", "%", "\x00", ",",
     "self.assertEqual(", ")", "not ", "\ud800", "verdict", "right", "no"]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=5), max_size=30).map("".join))
def test_no_text_is_refused(text: str) -> None:
    for test in made_asserts(text, "f"):
        assert test.source.startswith("assert ")
    assert all(item for item in items(text, "problem"))
    assert part(text, "problem") is None or isinstance(part(text, "problem"), str)
    found = number(text, "confidence")
    assert found is None or 0 <= found <= 100
    judged = judgements(text, "block").values()
    assert all(judgement.reason is not None for judgement in judged)
    assert all(call.startswith("f(") for call in made_calls(text, "f"))
    assert verdict(text) in (True, False, None)
