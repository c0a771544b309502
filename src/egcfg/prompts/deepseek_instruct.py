"""Instruction with three worked examples; the paper's first prompt type, in our own words."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from egcfg.interfaces.problem import Task
from egcfg.interfaces.prompt import Prompt, PromptBuilder
from egcfg.prompts.instruction_format import instruction_prompt
from egcfg.prompts.wording import code_block, request, task_text, tests_text
from egcfg.prompts.worked_examples import OWN_EXAMPLES, WorkedExample, mbpp_examples

__all__ = ["DeepseekInstructPrompt"]


class DeepseekInstructPrompt(PromptBuilder):
    """Shows three solved tasks, then asks for one function in a code fence."""

    @frozen(kw_only=True)
    class Options:
        """Options of the prompt.

        Attributes:
            examples_path: an MBPP file, whose tasks 2, 3 and 4 are the examples (as in the paper);
                None: three examples written for this project.
            examples_from_hub: whether they are those tasks of MBPP on the hub, where no file is
                given.
            prefill: whether the response is made to start with the code fence and the
                given code.
        """

        examples_path: Path | None = None
        examples_from_hub: bool = False
        prefill: bool = True

    def __init__(self, options: Options) -> None:
        self.options = options
        path = options.examples_path
        mbpp = path is not None or options.examples_from_hub
        self.examples = mbpp_examples(path) if mbpp else OWN_EXAMPLES

    def build(self, problem: Task) -> Prompt:
        """Return the prompt; see `PromptBuilder.build`."""
        # An example that is the problem itself would give its solution away.
        others = [e for e in self.examples if e.description != problem.description]
        shown = "\n\n".join(_show(number, e) for number, e in enumerate(others, start=1))
        instruction = (
            "Solve a programming task with Python code. Here are some solved tasks.\n\n"
            f"{shown}\n\n"
            f"Now solve this task. Write {request(problem)} in one code block, "
            "without tests or explanations.\n\n"
            f"Task:\n{task_text(problem)}"
        )
        return instruction_prompt(problem, instruction, self.options.prefill)


def _show(number: int, example: WorkedExample) -> str:
    return (
        f"Example {number}:\n{example.description}\n{tests_text(example.tests)}\n"
        f"Solution:\n{code_block(example.code)}"
    )
