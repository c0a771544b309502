from __future__ import annotations

import pytest

from egcfg.interfaces.prompt import ChatMessage, ChatPrompt, Template
from egcfg.interfaces.reasoning import closing_tags, closing_text, opening_tag, opens_reasoning


@pytest.mark.parametrize(
    ("rendered", "closed"),
    [
        ("<|im_start|>assistant\n<think>\n", "\n</think>\n\n"),
        ("<|Assistant|><think>", "</think>"),
        ("[INST]hi[/INST][THINK]", "[/THINK]"),
        ("<reasoning>\n\n", "\n</reasoning>\n\n"),
        ("<seed:think>", "</seed:think>"),
        ("assistant◁think▷", "◁/think▷"),
    ],
)
def test_a_block_that_is_left_open_is_closed(rendered: str, closed: str) -> None:
    assert opens_reasoning(rendered)
    assert closing_text(rendered) == closed
    assert not opens_reasoning(rendered + closed)
    assert closing_text(rendered + closed) == ""
    [tag] = closing_tags(closed)
    assert tag[0] == closed.strip()


def test_an_answer_in_channels_is_taken_to_its_final_one() -> None:
    rendered = "<|start|>user<|message|>hi<|end|><|start|>assistant"
    assert not opens_reasoning(rendered)
    assert closing_text(rendered) == "<|channel|>final<|message|>"


@pytest.mark.parametrize(
    "rendered", ["", "assistant\n", "<think>\n\n</think>\n\n", "<think> it says\n", "<b>"]
)
def test_where_nothing_is_open_nothing_is_closed(rendered: str) -> None:
    assert not opens_reasoning(rendered)
    assert closing_text(rendered) == ""
    assert opening_tag("<b>") is None


def test_quoted_tags_close_nothing() -> None:
    assert not list(closing_tags("`</think>` and '</think>' and \"</reasoning>\""))
    assert [tag[0] for tag in closing_tags("no.</think>yes")] == ["</think>"]


def test_only_an_answer_whose_beginning_is_given_starts_outside_of_reasoning() -> None:
    chat = (ChatMessage("user", "hi"),)
    assert ChatPrompt(chat).after("<think>\n") == ()
    after = ChatPrompt(chat, "```python\n").after("<think>\n")
    assert after == ("\n</think>\n\n", "```python\n")
    assert [isinstance(part, Template) for part in after] == [True, False]
    assert "".join(ChatPrompt(chat, "x").after("assistant\n")) == "x"
