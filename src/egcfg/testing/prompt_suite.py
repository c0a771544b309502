"""What every prompt builder must keep."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import ClassVar
from unittest import SkipTest

from attrs import evolve

from egcfg.decoding.answer import AnswerReader, CodeSpan
from egcfg.decoding.extraction import extract_code
from egcfg.errors import UsageError
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import CodeLayout, Prompt
from egcfg.plugins.hookspecs import Kind
from egcfg.testing.examples import HIDDEN, PROBLEMS, RIGHT, RIGHT_WHOLE
from egcfg.testing.suite import Suite, require

__all__ = ["PromptSuite"]

SIGNAL = "[program 1]\nf(2) -> 5\n"
FENCE = "```python\n"


class PromptSuite(Suite):
    """Checks of a prompt builder, on a problem of each shape that it does not refuse."""

    kind = Kind.PROMPT

    tells_tests: ClassVar[bool | None] = None
    """Whether its prompts show the visible tests, as they do in the paper; None: is seen."""

    def prompts(self) -> Iterator[tuple[Problem, Prompt]]:
        """Yield the example problems and their prompts; those left out that it refuses."""
        made = 0
        for problem in PROBLEMS.values():
            try:
                prompt = self.opened.ask("build", problem)
            except UsageError:
                continue
            require(
                isinstance(prompt, Prompt),
                f"build gave {type(prompt).__name__}: return an egcfg.Prompt",
            )
            made += 1
            yield problem, prompt
        require(made, "build refuses every example problem: take those of at least one shape")

    def test_no_hidden_test_is_in_a_prompt(self) -> None:
        """Hidden tests are told to no model."""
        for problem, prompt in self.prompts():
            told = prompt.conditional(SIGNAL).text + prompt.given_code
            require(
                HIDDEN not in told,
                f"the prompt of the problem {problem.description!r} tells a hidden test: use "
                "description, given_code and visible_tests only",
            )

    def test_the_text_depends_on_what_is_visible_only(self) -> None:
        """Two problems that look alike to the model have the same prompt."""
        for problem, prompt in self.prompts():
            other = evolve(problem, task_id="other", hidden_tests=[], setup_code="secret = 1")
            require(
                self.opened.ask("build", other) == prompt,
                "another task_id, setup_code or hidden test changes the prompt: use description, "
                "given_code and visible_tests only, and nothing random",
            )

    def test_an_empty_signal_gives_the_unconditional_prompt(self) -> None:
        """Header and footer of the signal are shown together with one only."""
        for _, prompt in self.prompts():
            header = prompt.signal_header.strip()
            require(
                prompt.conditional("") == prompt.unconditional()
                and not (header and header in prompt.unconditional().text),
                "the signal's header is in the unconditional prompt: leave it to signal_header",
            )

    def test_a_signal_changes_nothing_around_its_slot(self) -> None:
        """Both prompts end alike, so that both branches go on from the same place."""
        for _, prompt in self.prompts():
            slot = prompt.signal_header + SIGNAL + prompt.signal_footer
            conditional = prompt.conditional(SIGNAL).text
            require(
                conditional.replace(slot, "", 1) == prompt.unconditional().text
                and conditional.endswith(prompt.response_prefix),
                "the conditional prompt without its signal is not the unconditional one: return "
                "a plain egcfg.Prompt",
            )

    def test_the_task_is_told_once(self) -> None:
        """The description is in the prompt, and not twice."""
        for problem, prompt in self.prompts():
            told = _words("".join(prompt.before + prompt.after)).count(
                problem.description.split("\n")[0]
            )
            require(told == 1, f"the description is told {told} times: tell it once")

    def test_the_visible_tests_are_told_once(self) -> None:
        """Each visible call or input is in the prompt, and not twice."""
        told: dict[str, int] = {}
        shows = bool(self.tells_tests)
        for problem, prompt in self.prompts():
            text = _words("".join(prompt.before + prompt.after))
            for execution in problem.executions(""):
                what = execution.call or "seen in"
                told[f"{what} of {problem.description!r}"] = text.count(what)
                shows |= self.tells_tests is None and text.count(what) > (
                    problem.description.count(what)
                )
        if not shows:
            raise SkipTest("its prompts show no visible test")
        for what, count in told.items():
            require(
                count == 1,
                f"the visible test {what} is told {count} times: tell each once, or set "
                "tells_tests = False and tell none",
            )

    def test_a_good_answer_becomes_a_program_that_parses(self) -> None:
        """What a model writes after the prompt is found, and put together with the given code."""
        for problem, prompt in self.prompts():
            answer = _good_answer(problem, prompt)
            response = prompt.response_prefix + answer
            if prompt.layout is CodeLayout.FENCED:
                response += "```"
            entry_point = problem.entry_point
            code = extract_code(response, prompt.layout, entry_point, prompt.given_code)
            try:
                ast.parse(code)
            except SyntaxError as error:
                raise AssertionError(
                    f"a good answer to {problem.description!r} gives no Python ({error}): see that "
                    "response_prefix, layout and given_code fit together"
                ) from error
            require(
                code.endswith(answer.splitlines(keepends=True)[-1])
                and code.count("def f(") == (entry_point is not None)
                and code.count("def helper") == problem.given_code.count("def helper"),
                f"a good answer to {problem.description!r} is not found whole: the program is "
                f"{code!r}; hand problem.given_code on, and see that response_prefix, layout and "
                "given_code fit together",
            )
            require(
                _span(response, prompt, problem).guidance_start is not None,
                "guidance never begins in a good answer: open the fence in response_prefix, or "
                "ask for one",
            )

    def test_the_code_is_not_over_where_the_answer_begins(self) -> None:
        """The forced beginning of the answer leaves its code open."""
        for problem, prompt in self.prompts():
            if not prompt.response_prefix and prompt.layout is CodeLayout.FENCED:
                continue  # the model opens its own fence
            span = _span(prompt.response_prefix, prompt, problem)
            require(
                span.start is not None and span.end is None,
                "the code is over before the model writes: end response_prefix inside the code",
            )


def _words(text: str) -> str:
    return " ".join(text.split())


def _good_answer(problem: Problem, prompt: Prompt) -> str:
    """Return what a model that is right goes on with."""
    program = RIGHT_WHOLE if problem.entry_point is None else RIGHT
    begun = prompt.given_code if prompt.layout is CodeLayout.COMPLETION else ""
    begun += prompt.response_prefix.rpartition(FENCE)[2]
    if "def f(" not in begun:
        return program
    head, _, rest = program.partition("\n")
    begun = "def f(" + begun.rpartition("def f(")[2]
    return rest if begun.endswith("\n") else f"{head}\n{rest}".removeprefix(begun)


def _span(response: str, prompt: Prompt, problem: Problem) -> CodeSpan:
    reader = AnswerReader.of(prompt, problem.entry_point, reasoning=False)
    reader.read(response)
    return reader.span
