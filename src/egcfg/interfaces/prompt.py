"""The seam to wording: a problem in, a prompt with a slot for the execution signal out."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeAlias

from attrs import frozen

from egcfg.interfaces.backend import ChatMessage
from egcfg.interfaces.problem import Problem

__all__ = ["ChatTemplate", "CodeLayout", "Prompt", "PromptBuilder"]

ChatTemplate: TypeAlias = Callable[[Sequence[ChatMessage]], str]
"""`LogprobBackend.render_chat` of the model that the prompt is for."""


class CodeLayout(enum.StrEnum):
    """Where the code stands in a response.

    * ``FENCED``: inside a Markdown code fence; prose may come before it.
    * ``COMPLETION``: the response itself continues `Prompt.given_code`, until its function ends.
    """

    FENCED = "fenced"
    COMPLETION = "completion"


@frozen(kw_only=True)
class Prompt:
    """A prompt in four parts: before, signal slot, after, response prefix.

    With the slot empty it is the unconditional prompt; filled, the conditional one.

    Attributes:
        before: instructions and examples.
        after: what stands between the slot and the response.
        response_prefix: text that the response is made to start with (a fence, a signature); it
            counts as part of the response when the code is taken out of it.
        signal_header: put before a signal, not shown while the slot is empty.
        signal_footer: put behind a signal, likewise.
        layout: where the code stands in the response.
        given_code: code that the response continues (``COMPLETION``) or that is known to stand
            before it in every executed program; empty otherwise.
    """

    before: str
    after: str
    response_prefix: str = ""
    signal_header: str = ""
    signal_footer: str = ""
    layout: CodeLayout = CodeLayout.FENCED
    given_code: str = ""

    def unconditional(self) -> str:
        """The prompt text with the slot empty, up to where generation starts."""
        return self.before + self.after + self.response_prefix

    def conditional(self, signal: str) -> str:
        """The prompt text with `signal` in the slot; the unconditional one if it is empty."""
        if not signal:
            return self.unconditional()
        slot = self.signal_header + signal + self.signal_footer
        return self.before + slot + self.after + self.response_prefix


class PromptBuilder(ABC):
    """Words a problem for a model.

    Subclasses take one argument, an instance of their options class. The text must depend on the
    problem's description, given code and *visible* tests only.
    """

    Options: ClassVar[type]
    """The attrs class of this builder's options."""

    @abstractmethod
    def build(self, problem: Problem, chat_template: ChatTemplate) -> Prompt:
        """Return the prompt for `problem`.

        Raises:
            CapabilityError: the builder needs a chat template and the model has none.
        """
