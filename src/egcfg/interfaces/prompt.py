"""The seam to wording: a problem in, a prompt with a slot for the execution signal out.

A prompt stays structured until the backend encodes it. Plain strings are *literal* text: where one
spells out a special token of the model (a program that prints ``<|im_end|>``), it stays text. Only
`Template` text may become special tokens. A chat's own template is the backend's business.
"""

from __future__ import annotations

import enum
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, TypeAlias

from attrs import field, frozen

from egcfg.interfaces.problem import Problem
from egcfg.interfaces.reasoning import closing_text

__all__ = [
    "ChatMessage",
    "ChatPrompt",
    "CodeLayout",
    "Prompt",
    "PromptBuilder",
    "Template",
    "TextPrompt",
    "literal_stretches",
]


class Template(str):
    """Text of a prompt in which special tokens that are spelt out stand for themselves."""

    __slots__ = ()


def literal_stretches(parts: Sequence[str], special: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Yield where literal text spells out special tokens, each up to the next real one.

    A tokenizer splits text at its special tokens before all else, so that cutting it there changes
    nothing (where a special token takes whitespace around it along, it keeps that).

    Args:
        parts: literal text and `Template` text of one prompt; positions are those of all of it.
        special: matches the model's special tokens.
    """
    text = "".join(parts)
    template = b"".join(bytes([isinstance(part, Template)]) * len(part) for part in parts)
    begin, spells = 0, False
    for match in special.finditer(text):
        if not all(template[match.start() : match.end()]):
            spells = True
            continue
        if spells:
            yield begin, match.start()
        begin, spells = match.end(), False
    if spells:
        yield begin, len(text)


@frozen
class TextPrompt:
    """A prompt of plain text.

    Attributes:
        parts: literal text and `Template` text, in order, without separators.
    """

    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        """All parts together, for people."""
        return "".join(self.parts)


@frozen
class ChatMessage:
    """One message of a chat; its content is literal text."""

    role: Literal["system", "user", "assistant"]
    content: str


@frozen
class ChatPrompt:
    """A chat that the assistant is about to answer, in the model's own template.

    Attributes:
        messages: what was said.
        assistant_prefix: what the answer starts with; literal text.
    """

    messages: tuple[ChatMessage, ...]
    assistant_prefix: str = ""

    @property
    def text(self) -> str:
        """The chat in a neutral notation, for people."""
        said = "".join(f"<{m.role}>\n{m.content}\n" for m in self.messages)
        return f"{said}<assistant>\n{self.assistant_prefix}"

    def after(self, rendered: str) -> tuple[str, ...]:
        """Return what follows the rendered template: `assistant_prefix`, outside of any reasoning.

        A template may leave a reasoning block open. Before an answer whose beginning is given, it
        is closed; otherwise the model reasons, and its answer comes after.
        """
        if not self.assistant_prefix:
            return ()
        return (Template(closing_text(rendered)), self.assistant_prefix)


class CodeLayout(enum.StrEnum):
    """Where the code is in a response.

    * ``FENCED``: inside a Markdown code fence; prose may come before it.
    * ``COMPLETION``: the response itself continues `Prompt.given_code`, until its function ends.
    """

    FENCED = "fenced"
    COMPLETION = "completion"


Parts: TypeAlias = tuple[str, ...]


def _as_parts(text: str | Parts) -> Parts:
    return (text,) if isinstance(text, str) else tuple(text)


@frozen(kw_only=True)
class Prompt:
    """A prompt with a slot for the signal. Empty, it is the unconditional prompt; filled, the
    conditional one.

    Attributes:
        before: text before the slot: a string (literal), or a tuple of literal and `Template` text.
        after: text between the slot and the response, likewise.
        chat: whether the text around the slot is the content of a user's message in the model's own
            chat template, rather than the whole prompt; then all of it is literal.
        history: messages before that one; only where `chat` is set.
        response_prefix: text that the response starts with (a fence, a signature); it counts as
            part of the response when the code is taken out of it.
        signal_header: put before a signal, not shown while the slot is empty.
        signal_footer: put after a signal, likewise.
        layout: where the code is in the response.
        given_code: code that the response continues (``COMPLETION``) or that comes before it in
            every executed program; empty otherwise.
    """

    before: Parts = field(converter=_as_parts)
    after: Parts = field(converter=_as_parts)
    chat: bool = False
    history: tuple[ChatMessage, ...] = ()
    response_prefix: str = ""
    signal_header: str = ""
    signal_footer: str = ""
    layout: CodeLayout = CodeLayout.FENCED
    given_code: str = ""

    def unconditional(self) -> TextPrompt | ChatPrompt:
        """The prompt with the slot empty, up to where generation starts."""
        return self._with(())

    def conditional(self, signal: str) -> TextPrompt | ChatPrompt:
        """The prompt with `signal` in the slot; the unconditional one if it is empty."""
        return self._with((self.signal_header, signal, self.signal_footer) if signal else ())

    def _with(self, slot: Parts) -> TextPrompt | ChatPrompt:
        parts = (*self.before, *slot, *self.after)
        if not self.chat:
            return TextPrompt((*parts, self.response_prefix))
        message = ChatMessage("user", "".join(parts))
        return ChatPrompt((*self.history, message), self.response_prefix)


class PromptBuilder(ABC):
    """Words a problem for a model.

    Subclasses take one argument, an instance of their options class. The text must depend on the
    problem's description, given code and *visible* tests only.
    """

    Options: ClassVar[type]
    """The attrs class of this builder's options."""

    @abstractmethod
    def build(self, problem: Problem) -> Prompt:
        """Return the prompt for `problem`."""
