from __future__ import annotations

import pytest

from egcfg.interfaces.prompt import ChatMessage, ChatPrompt, Prompt, Template, TextPrompt


def test_template_text_stays_apart_from_literal_text_until_it_is_encoded() -> None:
    prompt = Prompt(
        before=(Template("<|user|>"), "Print <|user|>.", Template("<|end|>")),
        after=Template("<|assistant|>"),
        signal_header="It printed: ",
        response_prefix="```python\n",
    )
    filled = prompt.conditional("<|end|>")
    assert isinstance(filled, TextPrompt)
    assert filled.text == (
        "<|user|>Print <|user|>.<|end|>It printed: <|end|><|assistant|>```python\n"
    )
    templates = [part for part in filled.parts if isinstance(part, Template)]
    assert templates == ["<|user|>", "<|end|>", "<|assistant|>"]


@pytest.mark.parametrize("chat", [False, True])
def test_an_empty_signal_leaves_the_unconditional_prompt(chat: bool) -> None:
    prompt = Prompt(
        before="a", after="b", chat=chat, signal_header="<", signal_footer=">", response_prefix="c"
    )
    assert prompt.conditional("") == prompt.unconditional()
    assert prompt.conditional("x").text.replace("<x>", "") == prompt.unconditional().text


def test_a_chat_goes_on_after_its_history() -> None:
    history = (ChatMessage("system", "Be brief."), ChatMessage("assistant", "Yes."))
    prompt = Prompt(before=("a", "b"), after="c", chat=True, history=history, response_prefix="d")
    assert prompt.conditional("s") == ChatPrompt((*history, ChatMessage("user", "absc")), "d")
    assert prompt.unconditional().text == (
        "<system>\nBe brief.\n<assistant>\nYes.\n<user>\nabc\n<assistant>\nd"
    )
