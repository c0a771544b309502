"""Instruction without examples that asks for many short lines; the paper's second prompt type.

One operation per line gives execution guidance more places to look at intermediate values.
"""

from __future__ import annotations

from attrs import frozen

from egcfg.interfaces.problem import Task
from egcfg.interfaces.prompt import Prompt, PromptBuilder
from egcfg.prompts.instruction_format import instruction_prompt
from egcfg.prompts.wording import request, task_text

__all__ = ["LongCodePrompt"]


class LongCodePrompt(PromptBuilder):
    """Asks for code in many small steps, in a code fence."""

    @frozen(kw_only=True)
    class Options:
        """Options of the prompt.

        Attributes:
            prefill: whether the response is made to start with the code fence and the
                given code.
        """

        prefill: bool = True

    def __init__(self, options: Options) -> None:
        self.options = options

    def build(self, problem: Task) -> Prompt:
        """Return the prompt; see `PromptBuilder.build`."""
        instruction = (
            f"{task_text(problem)}\n\n"
            f"Write {request(problem)} in one code block, without tests or explanations. Take many "
            "small steps:\n"
            "- do a single operation on each line and give its result a name;\n"
            "- write loops and conditions out, with no comprehension, lambda or nested call;\n"
            "- prefer several short lines to one long line."
        )
        return instruction_prompt(problem, instruction, self.options.prefill)
