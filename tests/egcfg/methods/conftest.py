"""A problem, programs that do it more or less well, and a model that answers with them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest
from attrs import frozen

from egcfg.config import RunConfig
from egcfg.engine import Engine
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.solution import Solution
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox
from egcfg.testing.answering import AnsweringBackend

Run = Callable[[Coroutine[Any, Any, Any]], Any]

DOUBLE = Problem(
    task_id="t/double",
    description="Double a number.",
    entry_point="f",
    visible_tests=[AssertTest("assert f(2) == 4"), AssertTest("assert f(0) == 0")],
    hidden_tests=[AssertTest("assert f(5) == 10")],
)


@frozen
class Programs:
    """Programs for the problem."""

    right: str = "def f(x):\n    return 2 * x\n"
    square: str = "def f(x):\n    return x * x\n"  # passes the visible tests, not the hidden one
    same: str = "def f(x):\n    return x\n"  # passes one visible test
    broken: str = "def f(x):\n    return x / 0\n"


@pytest.fixture(scope="session")
def programs() -> Programs:
    return Programs()


@pytest.fixture(scope="session")
def double() -> Problem:
    return DOUBLE


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One for all of these tests, since it takes longer to start than most of them to run."""
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


@pytest.fixture
def solve(run: Run, sandbox: Sandbox) -> Callable[..., tuple[Solution, AnsweringBackend]]:
    """Solve a problem by a method with a model that gives these answers; programs are fenced."""

    def solved(
        method: str,
        answers: Sequence[str],
        *,
        problem: Problem = DOUBLE,
        tokens: int | None = None,
        **options: Any,
    ) -> tuple[Solution, AnsweringBackend]:
        texts = [f"```python\n{text}```\n" if text.startswith("def ") else text for text in answers]
        backend = AnsweringBackend(AnsweringBackend.Options(texts))

        async def work() -> Solution:
            config = RunConfig(tokens_per_task=tokens)
            made = create(Kind.METHOD, method, options)
            async with Engine(config, backend=backend, method=made, sandbox=sandbox) as engine:
                return await engine.solve(problem)

        return run(work()), backend

    return solved
