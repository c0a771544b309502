"""The built-in prompt builders keep what every builder promises."""

from __future__ import annotations

import ast

import attrs
import pytest

from egcfg.decoding.extraction import extract_code
from egcfg.interfaces.problem import Problem
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create, registry
from egcfg.testing import PromptSuite


class TestChat(PromptSuite):
    name = "chat"
    tells_tests = True


class TestCompletion(PromptSuite):
    name = "completion"
    tells_tests = True


class TestDeepseekInstruct(PromptSuite):
    name = "deepseek_instruct"
    tells_tests = True


class TestLongCode(PromptSuite):
    name = "long_code"
    tells_tests = True


def test_every_built_in_builder_is_checked_here() -> None:
    checked = {each.name for each in (TestChat, TestCompletion, TestDeepseekInstruct, TestLongCode)}
    assert set(registry().components(Kind.PROMPT)) == checked


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
