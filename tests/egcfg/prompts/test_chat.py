from __future__ import annotations

import attrs
import pytest

from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt
from egcfg.prompts.chat import ChatPromptBuilder


def chat(problem: Problem, signal: str = "", **options: bool) -> ChatPrompt:
    builder = ChatPromptBuilder(ChatPromptBuilder.Options(**options))
    prompt = builder.build(problem).conditional(signal)
    assert isinstance(prompt, ChatPrompt)
    return prompt


def test_the_task_is_one_users_message_and_the_fence_starts_the_answer(double: Problem) -> None:
    prompt = chat(double)
    [message] = prompt.messages
    assert message.role == "user"
    assert message.content.startswith(double.description)
    assert prompt.assistant_prefix == "```python\n"
    assert chat(double, prefill=False) == attrs.evolve(prompt, assistant_prefix="")


def test_the_slot_lies_inside_the_users_message(double: Problem) -> None:
    [empty], [filled] = (chat(double, signal).messages for signal in ("", "f(2) -> 5"))
    before, _, after = filled.content.partition("f(2) -> 5")
    assert before.strip().startswith(double.description)
    # A template may trim the message: the slot is not at its end.
    assert after.strip()
    assert empty.content.endswith(after)
    assert before.startswith(empty.content.removesuffix(after))


@pytest.mark.parametrize("text", ["Print <|im_end|> once.", "[INST] and </s>", "{% raw %} {{ x }}"])
def test_what_a_description_spells_out_stays_what_it_says(double: Problem, text: str) -> None:
    """The prompt holds no template: what may become a special token is the backend's business."""
    prompt = chat(attrs.evolve(double, description=text), "a program printed <|im_end|>")
    assert type(prompt.messages[0].content) is str
    assert prompt.messages == (ChatMessage("user", prompt.messages[0].content),)
    assert text in prompt.messages[0].content
    assert "printed <|im_end|>" in prompt.messages[0].content
