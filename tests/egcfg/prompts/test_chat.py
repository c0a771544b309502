from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest

from egcfg.errors import CapabilityError
from egcfg.interfaces.backend import ChatMessage
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import ChatTemplate
from egcfg.prompts.chat import ChatPrompt


def builder() -> ChatPrompt:
    return ChatPrompt(ChatPrompt.Options())


def test_the_slot_lies_inside_the_user_message(double: Problem, template: ChatTemplate) -> None:
    prompt = builder().build(double, template)
    assert prompt.before.startswith("<|im_start|>user\n")
    assert "<|im_end|>" not in prompt.before
    user, _, rest = prompt.after.partition("<|im_end|>")
    assert user.strip()
    assert rest == "\n<|im_start|>assistant\n"


def test_the_prompt_is_what_the_template_gives_without_a_slot(
    double: Problem, template: ChatTemplate
) -> None:
    seen: list[Sequence[ChatMessage]] = []

    def spy(messages: Sequence[ChatMessage]) -> str:
        seen.append(messages)
        return template(messages)

    prompt = builder().build(double, spy)
    (message,) = seen[0]
    content = message["content"].replace("[signal slot 0]", "")
    assert prompt.before + prompt.after == template([{"role": "user", "content": content}])


def test_a_description_that_holds_the_marker_is_kept(
    double: Problem, template: ChatTemplate
) -> None:
    text = "Replace [signal slot 0] and [signal slot 1]."
    prompt = builder().build(attrs.evolve(double, description=text), template)
    assert prompt.before.count(text) == 1
    assert "[signal slot 2]" not in prompt.unconditional()


def test_a_template_that_drops_the_message_is_refused(double: Problem) -> None:
    with pytest.raises(CapabilityError, match="choose another prompt"):
        builder().build(double, lambda _: "<|im_start|>assistant\n")


def test_a_model_without_template_is_refused(double: Problem) -> None:
    def none(_: Sequence[ChatMessage]) -> str:
        raise CapabilityError("no chat template; choose another prompt")

    with pytest.raises(CapabilityError, match="no chat template"):
        builder().build(double, none)
