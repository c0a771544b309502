"""Solving by a method from Python: chosen by name with options, or handed over."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from attrs import evolve

import egcfg
from egcfg.errors import UsageError
from egcfg.interfaces.backend import Answer, SampleRequest, ScoreRequest
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.usage import Usage
from egcfg.methods.best_of_n import BestOfN
from egcfg.sandbox import Sandbox
from egcfg.testing.answering import AnsweringBackend
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions

ONE_MORE = Problem(
    task_id="t/1",
    description="Return one more.",
    entry_point="f",
    visible_tests=[AssertTest("assert f(7) == 8")],
    hidden_tests=[AssertTest("assert f(5) == 6")],
)
WRONG_THEN_RIGHT = [f"```python\ndef f(x):\n    return x + {n}\n```" for n in (3, 2, 1)]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


def test_a_method_is_chosen_by_name_with_options_or_handed_over(sandbox: Sandbox) -> None:
    for method, options in (
        ("best_of_n", {"method": {"n": 2}}),
        (BestOfN(BestOfN.Options(n=2)), None),
    ):
        backend = AnsweringBackend(AnsweringBackend.Options(WRONG_THEN_RIGHT))
        *steps, solution = egcfg.solve_steps(
            ONE_MORE, backend=backend, method=method, options=options, sandbox=sandbox
        )
        assert steps == []
        assert not solution.passed
        assert [params.temperature for _, params in backend.asked] == [0.0, 0.8]
        assert [each.stage for each in solution.attempts] == ["greedy"]


def test_a_method_ends_at_its_tokens_and_tells_what_each_attempt_cost(sandbox: Sandbox) -> None:
    for tokens, passed in ((250, True), (150, False)):
        backend = AnsweringBackend(AnsweringBackend.Options(WRONG_THEN_RIGHT))
        solution = egcfg.solve(
            ONE_MORE, backend=backend, method="warming", tokens=tokens, sandbox=sandbox
        )
        assert solution.passed is passed
        spent = [each.tokens for each in solution.attempts]
        assert spent == ([100, 300] if passed else [100])


CODE = "def f(x):\n    return x + 2\n```"


class Billed(ScriptedBackend):
    """Always writes the same program, and counts prompts as a server does.

    With a cache it finds again what any prompt before began with; without one it tells of none.
    """

    def __init__(self, *, caches: bool) -> None:
        super().__init__(ScriptedOptions(script=self._next, noise=1e-6))
        self.caches = caches
        self.known: set[tuple[int, ...]] = set()

    @staticmethod
    def _next(text: str) -> str:
        return CODE[len(text.rpartition("```python\n")[2]) :]

    async def score(self, requests: Sequence[ScoreRequest]) -> Any:
        answer = await super().score(requests)
        return self._billed(answer, requests, sum(len(each.draft) + 1 for each in requests))

    async def sample(self, requests: Sequence[SampleRequest]) -> Any:
        return self._billed(await super().sample(requests), requests, 0)

    def _billed(
        self,
        answer: Answer[Any],
        requests: Sequence[ScoreRequest] | Sequence[SampleRequest],
        written: int,
    ) -> Answer[Any]:
        sent = cached = 0
        for ids in (request.ids for request in requests):
            prefixes = [ids[:length] for length in range(1, len(ids) + 1)]
            sent += len(ids)
            cached += sum(prefix in self.known for prefix in prefixes) if self.caches else 0
            self.known.update(prefixes)
        spent = Usage(input_tokens=sent, cached_tokens=cached, output_tokens=written)
        return evolve(answer, usage=answer.usage + spent)


def solve_billed(sandbox: Sandbox, method: str, tokens: int, *, caches: bool) -> egcfg.Solution:
    backend = Billed(caches=caches)
    return egcfg.solve(ONE_MORE, backend=backend, method=method, tokens=tokens, sandbox=sandbox)


@pytest.mark.parametrize("method", ["egcfg", "best_of_n"])
def test_prompt_tokens_that_a_cache_answers_cost_a_task_nothing(
    sandbox: Sandbox, method: str
) -> None:
    free = solve_billed(sandbox, method, 10**6, caches=True)
    spent = free.generation.total_usage
    assert free.code == "def f(x):\n    return x + 2\n"
    assert spent.cached_tokens > 2 * spent.tokens  # each token, or answer, asked for the prompt

    enough = solve_billed(sandbox, method, spent.tokens + 1, caches=True)
    assert enough.code == free.code
    assert enough.generation.total_usage.tokens == spent.tokens
    assert "refused" not in enough.events


def test_of_a_server_that_tells_of_no_cache_every_prompt_counts(sandbox: Sandbox) -> None:
    spent = solve_billed(sandbox, "egcfg", 10**6, caches=True).generation.total_usage
    solution = solve_billed(sandbox, "egcfg", spent.tokens + 1, caches=False)
    assert solution.code == ""
    assert f"of {spent.tokens + 1} tokens" in str(solution.score.general_error)


@pytest.mark.parametrize("method", ["egcfg", "best_of_n"])
def test_a_budget_below_the_prompt_is_refused_before_anything_is_asked(
    sandbox: Sandbox, method: str
) -> None:
    solution = solve_billed(sandbox, method, 9, caches=True)
    said = "there is no answer: task t/1 has spent 0 of 9 tokens, and the next prompt takes "
    assert str(solution.score.general_error).startswith(said)
    assert solution.generation.total_usage == Usage()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "best_of_m"}, "no method named 'best_of_m'; did you mean 'best_of_n'?"),
        ({"method": "best_of_n", "options": {"method": {"m": 1}}}, "has no option 'm'"),
        ({"method": "best_of_n", "options": {"method": {"n": 0}}}, "'n' must be >= 1"),
        (
            {"method": BestOfN(BestOfN.Options()), "options": {"method": {"n": 1}}},
            "give them to BestOfN, or pass the method's name",
        ),
    ],
)
def test_a_method_that_cannot_be_had_so_is_an_error(arguments: dict[str, Any], said: str) -> None:
    backend = AnsweringBackend(AnsweringBackend.Options(WRONG_THEN_RIGHT))
    with pytest.raises(UsageError, match=re.escape(said)):
        egcfg.solve(ONE_MORE, backend=backend, **arguments)
    assert backend.asked == []
