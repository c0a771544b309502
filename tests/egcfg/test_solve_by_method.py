"""Solving by a method from Python: chosen by name with options, or handed over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

import egcfg
from egcfg.errors import UsageError
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.methods.best_of_n import BestOfN
from egcfg.sandbox import Sandbox
from egcfg.testing.answering import AnsweringBackend

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
        assert [params.temperature for _, params in backend.asked] == [0.8, 0.8]
        assert [each.stage for each in solution.attempts] == ["sample"]


def test_a_method_ends_at_its_tokens_and_tells_what_each_attempt_cost(sandbox: Sandbox) -> None:
    for tokens, passed in ((250, True), (150, False)):
        backend = AnsweringBackend(AnsweringBackend.Options(WRONG_THEN_RIGHT))
        solution = egcfg.solve(
            ONE_MORE, backend=backend, method="warming", tokens=tokens, sandbox=sandbox
        )
        assert solution.passed is passed
        spent = [each.tokens for each in solution.attempts]
        assert spent == ([100, 300] if passed else [100])


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
