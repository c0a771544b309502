"""A signature and docstring to continue, as in HumanEval; for base models."""

from __future__ import annotations

import ast
import re
from string import ascii_lowercase

from attrs import frozen

from egcfg.interfaces.problem import AssertTest, StdioTest, Task, TestCase
from egcfg.interfaces.prompt import CodeLayout, Prompt, PromptBuilder
from egcfg.prompts.wording import description_is_given, unseen_tests

__all__ = ["CompletionPrompt"]

# A string at the top of the module: a base model has seen notes there, and reads the code after it
# as code. Triple single quotes, because docstrings use the double ones.
_SIGNAL_HEADER = (
    "'''\nNotes: possible versions of the function below were run on its examples. What happened:\n"
)
_SIGNAL_FOOTER = "\n'''\n\n"


class CompletionPrompt(PromptBuilder):
    """Lets the model continue code; the signal comes before it, in a string."""

    @frozen
    class Options:
        """There is nothing to choose."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def build(self, problem: Task) -> Prompt:
        """Return the prompt; see `PromptBuilder.build`."""
        before = ""
        given_code = problem.given_code
        if not given_code:
            given_code = _docstring(problem, indent="")
            if problem.entry_point is not None:
                given_code = _signature(problem) + _docstring(problem, indent="    ")
        else:
            remarks = [] if description_is_given(problem) else [problem.description.strip(), ""]
            remarks += [line for test in unseen_tests(problem) for line in _example(test)]
            before = "".join(f"# {line}".rstrip() + "\n" for line in "\n".join(remarks).split("\n"))
            before = before + "\n" if remarks else ""
        return Prompt(
            before=before,
            after=given_code,
            signal_header=_SIGNAL_HEADER,
            signal_footer=_SIGNAL_FOOTER,
            layout=CodeLayout.COMPLETION,
            given_code=given_code,
        )


def _docstring(problem: Task, indent: str) -> str:
    examples = [line for test in problem.visible_tests for line in _example(test)]
    text = "\n".join([problem.description.strip(), "", *examples]).rstrip()
    text = text.replace('"""', "'''")
    raw = "r" if "\\" in text else ""
    lines = f'{raw}"""{text}\n"""'.split("\n")
    return "".join((indent + line).rstrip() + "\n" for line in lines)


def _example(test: TestCase) -> list[str]:
    """One visible test in doctest's notation."""
    if isinstance(test, StdioTest):
        return ["Input:", *test.stdin.splitlines(), "Output:", *test.stdout.splitlines(), ""]
    match ast.parse(test.name).body if isinstance(test, AssertTest) else []:
        case [ast.Assert(test=ast.Compare(left=call, ops=[ast.Eq()], comparators=[value]))]:
            return [f">>> {ast.unparse(call)}", ast.unparse(value)]
        case _:
            return [f">>> {line}" for line in test.name.splitlines()]


def _signature(problem: Task) -> str:
    """The ``def`` line that fits every visible call.

    Names are the keywords of the calls, or those in the description where it spells the signature
    out, or a, b, c; a parameter that some call leaves out has the default None.
    """
    positional, required, keywords = _arity(problem)
    names = _names_in_description(problem, positional) or list(ascii_lowercase[:positional])
    parameters = [n if i < required else f"{n}=None" for i, n in enumerate(names)]
    parameters += [f"{keyword}=None" for keyword in keywords if keyword not in names]
    return f"def {problem.entry_point}({', '.join(parameters)}):\n"


def _arity(problem: Task) -> tuple[int, int, list[str]]:
    """Most and fewest positional arguments of the visible calls, and the keywords in them."""
    counts = []
    keywords: dict[str, None] = {}
    for execution in problem.executions(""):
        call = ast.parse(execution.call, mode="eval").body if execution.call else None
        if isinstance(call, ast.Call):
            counts.append(len(call.args))
            keywords.update((k.arg, None) for k in call.keywords if k.arg)
    return max(counts, default=1), min(counts, default=1), list(keywords)


def _names_in_description(problem: Task, number: int) -> list[str]:
    pattern = rf"\b{re.escape(problem.entry_point or '')}\(([\w\s,]*)\)"
    for match in re.finditer(pattern, problem.description):
        names = [name.strip() for name in match[1].split(",")]
        if len(names) == number and all(name.isidentifier() for name in names):
            return names
    return []
