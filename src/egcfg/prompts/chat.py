"""One user message in the model's own chat template; for instruction-tuned models."""

from __future__ import annotations

from attrs import frozen

from egcfg.decoding.definitions import preamble
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import CodeLayout, Prompt, PromptBuilder
from egcfg.prompts.wording import answer_start, request, task_text

__all__ = ["ChatPromptBuilder"]

_SIGNAL_HEADER = (
    "\n\nPossible continuations of the answer were run on the tests. Use what happened as hints:\n"
)


class ChatPromptBuilder(PromptBuilder):
    """Asks for the function in a fence; the signal is inside the user message."""

    @frozen(kw_only=True)
    class Options:
        """Options of the prompt.

        Attributes:
            prefill: whether the answer is made to start with the code fence and the given code;
                small models ramble otherwise, while others reason and draft.
        """

        prefill: bool = True

    def __init__(self, options: Options) -> None:
        self.options = options

    def build(self, problem: Problem) -> Prompt:
        """Return the prompt; see `PromptBuilder.build`."""
        prefill = self.options.prefill
        given_code = "" if prefill else preamble(problem.given_code, problem.entry_point)
        return Prompt(
            before=task_text(problem),
            # A chat template may trim the message, so the slot is not at its end.
            after=f"\n\nAnswer with {request(problem)} in one code block, without tests or "
            "explanations.",
            chat=True,
            response_prefix=answer_start(problem) if prefill else "",
            signal_header=_SIGNAL_HEADER,
            layout=CodeLayout.FENCED,
            given_code=given_code,
        )
