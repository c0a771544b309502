"""A model that answers by a list, so that every branch of a method can be led to."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from egcfg.interfaces.backend import Answer, Capabilities, Completion, SamplingParams, TextBackend
from egcfg.interfaces.prompt import ChatPrompt, TextPrompt
from egcfg.interfaces.usage import Usage

__all__ = ["AnsweringBackend"]

TOKENS = 50
"""Of each prompt, and of each answer."""


class AnsweringBackend(TextBackend):
    """Answers with the texts that it was given, one after the other, the last one for ever.

    Attributes:
        asked: every prompt and how it was to be answered.
    """

    @frozen
    class Options:
        """What it answers.

        Attributes:
            answers: the texts, in their order.
        """

        answers: Sequence[str]

    model_name = "answering"
    capabilities = Capabilities(logprobs=False)

    def __init__(self, options: Options) -> None:
        self._answers = tuple(options.answers)
        self.asked: list[tuple[TextPrompt | ChatPrompt, SamplingParams]] = []

    async def complete(
        self, prompt: TextPrompt | ChatPrompt, params: SamplingParams
    ) -> Answer[Completion]:
        """Return the next answer, which costs `TOKENS` for the prompt and as many for itself.

        It counts as cut where a fence is left open.
        """
        self.asked.append((prompt, params))
        text = self._answers[min(len(self.asked), len(self._answers)) - 1]
        spent = Usage(requests=1, input_tokens=TOKENS, output_tokens=TOKENS)
        finished = text.count("```") % 2 == 0
        return Answer(Completion(text=text, finished=finished), spent)

    def said(self, number: int) -> str:
        """Return the text of a prompt, by its number from 0."""
        return self.asked[number][0].text
