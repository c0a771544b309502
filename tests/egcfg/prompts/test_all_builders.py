"""What every built-in prompt builder must keep, checked on every one of them."""

from __future__ import annotations

import ast

import attrs
import pytest

from egcfg.decoding.answer import AnswerReader, CodeSpan
from egcfg.decoding.extraction import extract_code
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import CodeLayout, Prompt, PromptBuilder
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create, registry

SIGNAL = "[program 1]\nf(2) -> 5\n"
BUILDERS = [c.name for r in registry().reports for c in r.components if c.kind is Kind.PROMPT]


@pytest.fixture(params=BUILDERS)
def builder(request: pytest.FixtureRequest) -> PromptBuilder:
    made: PromptBuilder = create(Kind.PROMPT, request.param)
    return made


@pytest.fixture
def prompt(builder: PromptBuilder, problem: Problem) -> Prompt:
    return builder.build(problem)


def span_of(response: str, prompt: Prompt, problem: Problem) -> CodeSpan:
    reader = AnswerReader.of(prompt, problem.entry_point, reasoning=False)
    reader.read(response)
    return reader.span


def test_the_built_in_builders_are_all_checked_here() -> None:
    assert {"chat", "completion", "deepseek_instruct", "long_code"} <= set(BUILDERS)


def test_no_hidden_test_is_in_a_prompt(prompt: Prompt, hidden_sentinel: str) -> None:
    assert hidden_sentinel not in prompt.conditional(SIGNAL).text + prompt.given_code


def test_the_text_depends_on_what_is_visible_only(builder: PromptBuilder, problem: Problem) -> None:
    other = attrs.evolve(problem, task_id="other", hidden_tests=[], setup_code="secret = 1")
    assert builder.build(other) == builder.build(problem)


def test_an_empty_signal_gives_the_unconditional_prompt(prompt: Prompt) -> None:
    assert prompt.conditional("") == prompt.unconditional()
    assert prompt.signal_header.strip() not in prompt.unconditional().text


def test_a_signal_changes_nothing_around_its_slot(prompt: Prompt) -> None:
    slot = prompt.signal_header + SIGNAL + prompt.signal_footer
    assert prompt.conditional(SIGNAL).text.replace(slot, "", 1) == prompt.unconditional().text
    around = ["".join(prompt.before), "".join(prompt.after)]
    assert "".join([around[0], slot, around[1]]) in prompt.conditional(SIGNAL).text
    assert prompt.conditional(SIGNAL).text.endswith(prompt.response_prefix)


def test_the_task_and_its_visible_tests_are_told_once(prompt: Prompt, problem: Problem) -> None:
    text = " ".join("".join(prompt.before + prompt.after).split())
    assert text.count(problem.description.split("\n")[0]) == 1
    for execution in problem.executions(""):
        assert text.count(execution.call or "seen in") == 1
    if problem.entry_point is None:
        assert text.count("seen out") == 1


def test_a_good_answer_becomes_a_program_that_parses(prompt: Prompt, problem: Problem) -> None:
    if problem.entry_point is None:
        answer = "print(input())\n"
    elif "def f(" in prompt.response_prefix + prompt.given_code:
        answer = "    return 2 * x\n"
    else:
        answer = "def f(x):\n    return 2 * x\n"
    response = prompt.response_prefix + answer
    if prompt.layout is CodeLayout.FENCED:
        response += "```"
    code = extract_code(response, prompt.layout, problem.entry_point, prompt.given_code)
    ast.parse(code)
    assert code.endswith(answer)
    assert code.count("def f(") == (problem.entry_point is not None)
    assert code.count("def helper") == problem.given_code.count("def helper")
    assert span_of(response, prompt, problem).guidance_start is not None


def test_the_code_is_not_over_where_the_answer_begins(prompt: Prompt, problem: Problem) -> None:
    span = span_of(prompt.response_prefix, prompt, problem)
    assert span.start is not None
    assert span.end is None


@pytest.mark.parametrize("name", ["chat", "deepseek_instruct", "long_code"])
def test_a_free_answer_repeats_the_function_but_not_its_helpers(
    name: str, humaneval: Problem
) -> None:
    prompt = create(Kind.PROMPT, name, {"prefill": "false"}).build(humaneval)
    answer = "Sure:\n```python\ndef f(x):\n    return helper(x)\n```"
    code = extract_code(answer, prompt.layout, "f", prompt.given_code)
    ast.parse(code)
    assert code.startswith("import math\n")
    assert (code.count("def helper"), code.count("def f(")) == (1, 1)


@pytest.mark.parametrize("name", ["chat", "deepseek_instruct", "long_code"])
def test_the_fence_is_forced_only_if_wanted(name: str, double: Problem) -> None:
    forced = create(Kind.PROMPT, name).build(double)
    free = create(Kind.PROMPT, name, {"prefill": "false"}).build(double)
    assert forced.response_prefix == "```python\n"
    assert free.response_prefix == ""
    assert attrs.evolve(free, response_prefix=forced.response_prefix) == forced
