"""What the methods that repair or choose in a dialogue have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from egcfg.engine import Engine
from egcfg.errors import CapabilityError, ContextOverflowError
from egcfg.interfaces.backend import Answer, Capabilities, Completion, SamplingParams
from egcfg.interfaces.problem import Problem, StdioTest
from egcfg.interfaces.prompt import ChatPrompt, TextPrompt
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox
from egcfg.testing.answering import AnsweringBackend

Solve = Callable[..., Any]
Programs = Any

SHORT: dict[str, dict[str, Any]] = {
    "self_debug": {"turns": 2},
    "codet": {"n": 3, "lists": 2},
    "ldb": {"rounds": 2},
    "mgdebugger": {"attempts": 2},
    "mapcoder": {"repairs": 1},
    "lpw": {"repairs": 2},
    "self_collaboration": {},
    "metagpt": {},
    "qualityflow": {"checker": "executed"},
}
"""Options with which a method ends soon."""
METHODS = tuple(SHORT)
BEFORE_THE_FIRST = {"mapcoder": 7, "lpw": 3, "self_collaboration": 1, "metagpt": 2}
"""Questions before the one that asks for a program: documents, plans."""
SEEDED = ("self_debug", "ldb", "mgdebugger")


@pytest.mark.parametrize("method", SEEDED)
def test_a_greedy_answer_that_passes_ends_it(solve: Solve, programs: Programs, method: str) -> None:
    solution, model = solve(method, [programs.right, programs.same])
    assert solution.passed
    assert [params.temperature for _, params in model.asked] == [0.0]
    assert [each.stage for each in solution.attempts] == ["greedy"]


@pytest.mark.parametrize("method", SEEDED)
def test_without_visible_tests_the_greedy_answer_stands(
    solve: Solve, programs: Programs, double: Problem, method: str
) -> None:
    blind = evolve(double, visible_tests=[])
    solution, model = solve(method, [programs.same, programs.right], problem=blind)
    assert len(model.asked) == 1
    assert solution.code == programs.same


@pytest.mark.parametrize("method", METHODS)
def test_answers_that_cannot_be_read_end_in_an_answer_all_the_same(
    solve: Solve, method: str
) -> None:
    solution, _ = solve(method, ["I would rather not.", "", "Hm: [", "{}"], **SHORT[method])
    assert not solution.passed
    assert solution.attempts
    assert sum(n for event, n in solution.events.items() if event.startswith("unreadable_")) > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tokens", [1, 250, 750])
def test_a_budget_may_end_it_anywhere(
    solve: Solve, programs: Programs, method: str, tokens: int
) -> None:
    solution, model = solve(method, [programs.same], tokens=tokens)
    assert len(model.asked) <= tokens // 100 + 1
    assert solution.events.get("refused", 0) >= 1 or solution.attempts
    if len(model.asked) > BEFORE_THE_FIRST.get(method, 0):
        assert solution.code == programs.same


@pytest.mark.parametrize("method", METHODS)
def test_a_program_that_is_never_right_ends_it(
    solve: Solve, programs: Programs, method: str
) -> None:
    solution, model = solve(method, [programs.same], **SHORT[method])
    assert not solution.passed
    assert solution.code == programs.same  # the best of all
    calls = {"self_debug": 3, "codet": 5, "ldb": 5, "mgdebugger": 9, "mapcoder": 5, "lpw": 8}
    calls |= {"self_collaboration": 3, "metagpt": 4, "qualityflow": 4}
    assert len(model.asked) == calls[method]


@pytest.mark.parametrize("method", METHODS)
def test_a_whole_program_is_solved_as_well(solve: Solve, method: str) -> None:
    problem = Problem(
        task_id="t/io",
        description="Print twice the number.",
        entry_point=None,
        visible_tests=[StdioTest("2\n", "4\n"), StdioTest("0\n", "0\n")],
        scorer="stdio",
    )
    wrong, right = (
        f"```python\ndef g(x):\n    return {body}\nprint(g(int(input())))\n```\n"
        for body in ("x + 1", "2 * x")
    )
    solution, _ = solve(method, [wrong, right], problem=problem, **SHORT[method])
    assert solution.passed


class Model(AnsweringBackend):
    """Answers by a list, without a chat template, or with a short context."""

    def __init__(self, answers: list[str], chat: bool = True, longest: int = 10**9) -> None:
        super().__init__(AnsweringBackend.Options(answers))
        self.capabilities = Capabilities(logprobs=False, chat=chat)
        self.longest = longest

    async def complete(
        self, prompt: TextPrompt | ChatPrompt, params: SamplingParams
    ) -> Answer[Completion]:
        if len(prompt.text) > self.longest:
            raise ContextOverflowError(len(prompt.text), self.longest)
        return await super().complete(prompt, params)


@pytest.fixture
def solve_with(run: Callable[..., Any], double: Problem, sandbox: Sandbox) -> Callable[..., Any]:
    def solve_with(model: Model, method: str, **options: Any) -> Any:
        async def work() -> Any:
            made = create(Kind.METHOD, method, options)
            prompt = create(Kind.PROMPT, "long_code", {})
            async with Engine(backend=model, method=made, prompt=prompt, sandbox=sandbox) as engine:
                return await engine.solve(double)

        return run(work())

    return solve_with


@pytest.mark.parametrize("method", METHODS)
def test_a_model_without_a_chat_template_is_refused_before_it_is_asked(
    solve_with: Callable[..., Any], programs: Programs, method: str
) -> None:
    model = Model([programs.right], chat=False)
    with pytest.raises(CapabilityError) as refusal:
        solve_with(model, method)
    assert "answering has no chat template, which the method" in str(refusal.value)
    assert method in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert model.asked == []
    assert solve_with(model, "greedy").passed  # which needs none


def test_old_turns_are_dropped_where_the_context_ends(
    solve_with: Callable[..., Any], programs: Programs
) -> None:
    model = Model([programs.same], longest=1000)
    solution = solve_with(model, "self_debug", turns=6)
    assert len(model.asked) == 7
    assert solution.events["dropped_turn"] > 0
    texts = [prompt.text for prompt, _ in model.asked[1:]]
    assert all("Double a number" in text for text in texts)  # the task stays


def test_a_dialogue_that_cannot_fit_ends_the_method_and_its_last_attempt_stands(
    solve_with: Callable[..., Any],
) -> None:
    program = "def f(x):\n" + "    # a long comment\n" * 60 + "    return x\n"
    solution = solve_with(Model([program], longest=1200), "self_debug")
    assert solution.code == program
    assert solution.events == {"context_overflow": 1}


def test_a_first_prompt_that_does_not_fit_is_an_error(
    solve_with: Callable[..., Any], programs: Programs
) -> None:
    with pytest.raises(ContextOverflowError):
        solve_with(Model([programs.right], longest=10), "self_debug")
