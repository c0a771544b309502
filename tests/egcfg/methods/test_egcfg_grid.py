"""egcfg_grid: configurations in turn, each worded by a prompt of its own, which the model tells."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from attrs import evolve

from egcfg.decoding.settings import DecodingSettings
from egcfg.engine import Engine
from egcfg.interfaces.method import Configuration
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.solution import Solution
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Grid = Callable[..., Solution]

SAYS = {"chat": "Answer with", "deepseek_instruct": "Example 1", "long_code": "small steps"}


@pytest.fixture
def grid(run: Run, sandbox: Sandbox) -> Grid:
    """Solve in one configuration per program, the model answering with that program there."""

    def solved(problem: Problem, programs: Sequence[str]) -> Solution:
        answers = dict(zip(SAYS, programs, strict=False))

        def script(text: str) -> str:
            name = next(name for name, said in SAYS.items() if said in text)
            response = text.rpartition("```python\n")[2]
            return f"{answers[name]}```\n"[len(response) :]

        async def work() -> Solution:
            backend = ScriptedBackend(ScriptedOptions(script=script, noise=0.001))
            method = create(Kind.METHOD, "egcfg_grid", {})
            configurations = [
                Configuration(settings=DecodingSettings(gamma=0.0), prompt=name) for name in answers
            ]
            async with Engine(backend=backend, method=method, sandbox=sandbox) as engine:
                return await engine.solve(problem, configurations=configurations)

        return run(work())

    return solved


def test_it_stops_at_the_first_that_passes_the_visible_tests(
    grid: Grid, double: Problem, programs: Any
) -> None:
    solution = grid(double, [programs.same, programs.right, programs.broken])
    assert solution.passed
    assert [a.program for a in solution.attempts] == [programs.same, programs.right]


def test_else_the_nearest_to_passing_is_the_answer_with_its_decoding(
    grid: Grid, double: Problem, programs: Any
) -> None:
    solution = grid(double, [programs.broken, programs.same, programs.broken])
    assert solution.code == programs.same
    assert programs.same in solution.generation.response
    assert [a.program for a in solution.attempts] == [programs.broken, programs.same]


def test_without_visible_tests_the_first_decoding_stands(
    grid: Grid, double: Problem, programs: Any
) -> None:
    blind = evolve(double, visible_tests=())
    solution = grid(blind, [programs.broken, programs.right])
    assert [a.program for a in solution.attempts] == [programs.broken]
