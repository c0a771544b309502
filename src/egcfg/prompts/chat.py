"""One user message in the model's own chat template; for instruction-tuned models."""

from __future__ import annotations

from attrs import frozen

from egcfg.errors import CapabilityError
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import ChatTemplate, CodeLayout, Prompt, PromptBuilder
from egcfg.prompts.wording import answer_start, preamble, request, task_text

__all__ = ["ChatPrompt"]

_SIGNAL_HEADER = (
    "\n\nPossible continuations of the answer were run on the tests. Use what happened as hints:\n"
)


class ChatPrompt(PromptBuilder):
    """Asks for the function in a fence; the signal stands inside the user message."""

    @frozen(kw_only=True)
    class Options:
        """Options of the prompt.

        Attributes:
            prefill: whether the answer is made to start with the code fence and the given code;
                small models ramble otherwise.
        """

        prefill: bool = True

    def __init__(self, options: Options) -> None:
        self.options = options

    def build(self, problem: Problem, chat_template: ChatTemplate) -> Prompt:
        """Return the prompt; see `PromptBuilder.build`."""
        before = task_text(problem)
        # The template may trim the message, so the slot is not at its end.
        after = (
            f"\n\nAnswer with {request(problem)} in one code block, without tests or explanations."
        )
        slot = _absent_marker(before + after)
        rendered = chat_template([{"role": "user", "content": before + slot + after}])
        if rendered.count(slot) != 1:
            raise CapabilityError(
                "the model's chat template does not keep the user's message as it is; "
                "choose another prompt: --prompt long_code"
            )
        prompt_before, _, prompt_after = rendered.partition(slot)
        return Prompt(
            before=prompt_before,
            after=prompt_after,
            response_prefix=answer_start(problem) if self.options.prefill else "",
            signal_header=_SIGNAL_HEADER,
            layout=CodeLayout.FENCED,
            given_code="" if self.options.prefill else preamble(problem),
        )


def _absent_marker(text: str) -> str:
    number = 0
    while (marker := f"[signal slot {number}]") in text:
        number += 1
    return marker
