"""The instruction format that DeepSeek-Coder's instruction-tuned models are trained on."""

from __future__ import annotations

from egcfg.decoding.definitions import preamble
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import CodeLayout, Prompt
from egcfg.prompts.wording import answer_start

__all__ = ["instruction_prompt"]

_SIGNAL_HEADER = """\

### Execution hints:
Candidate continuations of the answer were executed on the tests. Below are these programs and what
happened in them. They may be right or wrong; use them as hints about how the code behaves.

"""


def instruction_prompt(problem: Problem, instruction: str, prefill: bool) -> Prompt:
    """Return a prompt with the signal slot between the instruction and the response.

    Args:
        problem: the problem, for its given code.
        instruction: everything that the model is told.
        prefill: whether the response is made to start with the code fence and given code.
    """
    return Prompt(
        before=f"You write short and correct Python code.\n### Instruction:\n{instruction}\n",
        after="\n### Response:\n",
        response_prefix=answer_start(problem) if prefill else "",
        signal_header=_SIGNAL_HEADER,
        signal_footer="\n",
        layout=CodeLayout.FENCED,
        given_code="" if prefill else preamble(problem.given_code, problem.entry_point),
    )
