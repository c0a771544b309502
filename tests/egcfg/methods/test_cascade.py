"""cascade: greedy, samples, a guided answer, one repair; each only while the tests fail."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
from attrs import evolve

from egcfg.config import RunConfig
from egcfg.decoding.settings import DecodingSettings
from egcfg.engine import Engine
from egcfg.interfaces.method import Configuration
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.solution import LineStep, Solution
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Solve = Callable[..., Any]
Programs = Any


def stages(solution: Solution) -> list[str]:
    return [each.stage for each in solution.attempts]


def test_a_greedy_answer_that_passes_ends_it(solve: Solve, programs: Programs) -> None:
    solution, model = solve("cascade", [programs.right, programs.same])
    assert solution.passed
    assert len(model.asked) == 1
    assert stages(solution) == ["greedy"]
    assert not solution.events


def test_a_sample_that_passes_ends_it(solve: Solve, programs: Programs) -> None:
    solution, model = solve("cascade", [programs.same, programs.broken, programs.right])
    assert solution.passed
    assert [params.temperature for _, params in model.asked] == [0.0, 0.8, 0.8]
    assert stages(solution) == ["greedy", "sample"]


def test_of_programs_that_fail_one_of_the_largest_cluster_is_repaired(
    solve: Solve, programs: Programs
) -> None:
    other = "def f(x):\n    return 0 * x\n"  # passes as many as `same`
    also = "def f(x):\n    return x * 0\n"
    solution, model = solve("cascade", [programs.same, other, also, programs.right], n=2)
    assert solution.passed
    assert stages(solution) == ["greedy", "sample", "repair"]
    assert [each.program for each in solution.attempts] == [programs.same, other, programs.right]
    assert solution.events == {"chosen": 1}
    # A text model guides nothing, so the repair comes next.
    assert len(model.asked) == 4
    assert other.strip() in model.said(3)
    assert "the call gave 0" in model.said(3)
    assert "Repair it." in model.said(3)


def test_a_repair_that_is_no_better_changes_nothing(solve: Solve, programs: Programs) -> None:
    solution, _ = solve("cascade", [programs.same, programs.broken], n=0)
    assert solution.code == programs.same
    assert stages(solution) == ["greedy"]


def test_a_repair_that_cannot_be_read_is_counted(solve: Solve, programs: Programs) -> None:
    solution, _ = solve("cascade", [programs.same, "I would rather not."], n=0)
    assert solution.code == programs.same
    assert solution.events == {"chosen": 1, "unreadable_program": 1}


def test_what_is_not_wanted_is_left_out(solve: Solve, programs: Programs) -> None:
    solution, model = solve("cascade", [programs.same, programs.right], n=0, repair=False)
    assert len(model.asked) == 1
    assert solution.code == programs.same


def test_without_visible_tests_the_greedy_answer_stands(
    solve: Solve, programs: Programs, double: Problem
) -> None:
    blind = evolve(double, visible_tests=[])
    solution, model = solve("cascade", [programs.same, programs.right], problem=blind)
    assert len(model.asked) == 1
    assert solution.code == programs.same


def test_the_last_answer_stands_when_the_budget_ends(solve: Solve, programs: Programs) -> None:
    solution, model = solve("cascade", [programs.same], n=50, tokens=250)
    assert len(model.asked) == 3
    assert solution.code == programs.same


WRONG = "def f(x):\n    return x - x\n"
RIGHT = "def f(x):\n    return x + x\n"


class Undecided(ScriptedBackend):
    """Is right after a signal; without one it is often wrong, and always where it is greedy."""

    def __init__(self) -> None:
        super().__init__(ScriptedOptions(script=self._answer, noise=1e-6))

    def _answer(self, text: str) -> str:
        return (WRONG + "```\n")[len(text.rpartition("```python\n")[2]) :]

    def _shares(self, ids: tuple[int, ...]) -> Any:
        text = bytes(ids).decode()
        if not text.endswith("return x "):
            return super()._shares(ids)
        shares = np.full(128, 1e-9)
        shares[[ord("-"), ord("+")]] = (0.1, 0.9) if "Run 1: f(2)" in text else (0.55, 0.45)
        return np.log(shares)


def guided(
    run: Run, sandbox: Sandbox, problem: Problem, gammas: list[float], **options: Any
) -> tuple[Solution, list[LineStep]]:
    steps: list[LineStep] = []

    async def work() -> Solution:
        config = RunConfig(prompt=["long_code"])
        method = create(Kind.METHOD, "cascade", {"n": 0, "repair": False} | options)
        async with Engine(config, backend=Undecided(), method=method, sandbox=sandbox) as engine:
            settings = [DecodingSettings(gamma=gamma, candidates=6) for gamma in gammas]
            return await engine.solve(
                problem,
                configurations=[Configuration(settings=each) for each in settings],
                on_step=steps.append,
            )

    return run(work()), steps


def test_what_samples_do_not_solve_is_guided_where_candidates_differ(
    run: Run, sandbox: Sandbox, double: Problem
) -> None:
    solution, steps = guided(run, sandbox, double, [0.0, 1.0])
    assert stages(solution) == ["greedy", "decode"]
    assert solution.passed
    [decision] = [each for step in steps for each in step.decisions]
    assert decision.startswith("accept: candidate ")


def test_at_gamma_0_alone_or_where_not_wanted_nothing_is_guided(
    run: Run, sandbox: Sandbox, double: Problem
) -> None:
    for gammas, options in (([0.0], {}), ([1.0], {"guided": False})):
        solution, steps = guided(run, sandbox, double, gammas, **options)
        assert stages(solution) == ["greedy"]
        assert not steps
