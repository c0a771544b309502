"""A prompt of one sentence."""

from attrs import frozen

from egcfg import Prompt, PromptBuilder


@frozen
class Options:
    """Options of the prompt.

    Attributes:
        opening: said before the task.
    """

    opening: str = "Write Python code."


class TersePrompt(PromptBuilder):
    """Words a problem in one sentence, and opens the code fence, with the given code in it."""

    Options = Options

    def __init__(self, options):
        self.options = options

    def build(self, problem):
        """Return the prompt."""
        return Prompt(
            before=f"{self.options.opening} {problem.description.strip()}\n",
            signal_header="This is what happened when drafts were run:\n",
            signal_footer="\n",
            after="",
            response_prefix=f"```python\n{problem.given_code}",
        )
