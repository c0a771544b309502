"""smc: answers that grow together, weighed by what their programs do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from egcfg.config import RunConfig
from egcfg.engine import Engine
from egcfg.errors import CapabilityError
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.solution import Solution
from egcfg.methods.smc import resampled
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.records.entries import UnitEntry
from egcfg.records.reading import load_record
from egcfg.records.recorder import Recorder
from egcfg.records.trajectories import trajectory
from egcfg.sandbox import Sandbox
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Smc = Callable[..., tuple[Solution, list[tuple[str, dict[str, Any]]]]]


class Divided(ScriptedBackend):
    """Divides by zero in most answers, adds in the others, which is right."""

    shares = (0.8, 0.2)

    def __init__(self) -> None:
        super().__init__(ScriptedOptions(script=self._next, noise=1e-6))

    def _next(self, text: str) -> str:
        response = text.rpartition("```python\n")[2]
        rest = "def f(x):\n    y = x / 0\n    return y\n```\n"
        if "y = x + " in response:
            rest = rest.replace("/ 0", "+ x")
        return rest[len(response) :]

    def _shares(self, ids: tuple[int, ...]) -> Any:
        shares = super()._shares(ids)
        if bytes(ids).endswith(b"y = x "):
            shares = np.full(128, np.log(1e-9))
            shares[[ord("/"), ord("+")]] = np.log(self.shares)
        return shares


class Failing(Divided):
    """Never adds."""

    shares = (1.0, 1e-9)


class Silent(ScriptedBackend):
    """Ends every answer at once."""

    def __init__(self) -> None:
        super().__init__(ScriptedOptions(script=lambda _: "", noise=1e-6))


@pytest.fixture
def smc(run: Run, sandbox: Sandbox, double: Problem) -> Smc:
    def solved(
        model: ScriptedBackend,
        *,
        problem: Problem = double,
        recorder: Recorder | None = None,
        **options: Any,
    ) -> tuple[Solution, list[tuple[str, dict[str, Any]]]]:
        notes: list[tuple[str, dict[str, Any]]] = []

        def note(event: str, facts: Mapping[str, Any]) -> None:
            notes.append((event, dict(facts)))

        async def work() -> Solution:
            config = RunConfig(prompt=["long_code"])
            method = create(Kind.METHOD, "smc", {"temperature": 1.0} | options)
            async with Engine(config, backend=model, method=method, sandbox=sandbox) as engine:
                return await engine.solve(problem, on_note=note, recorder=recorder)

        return run(work()), notes

    return solved


def test_programs_that_crash_leave_no_offspring(smc: Smc) -> None:
    solution, notes = smc(Divided(), particles=16)
    assert solution.passed
    assert solution.events["resampled"] == len(notes)
    facts = [found for event, found in notes if event == "resampled"]
    # After the second line, those that crash are few: one in twenty of their weight is left.
    assert facts[0]["line"] == 2
    assert facts[0]["of"] == 16
    assert 0 < facts[0]["kept"] < 16
    again, _ = smc(Divided(), particles=16)
    assert again.code == solution.code
    assert again.generation.usage["particles"].output_tokens == (
        solution.generation.usage["particles"].output_tokens
    )


def test_a_roll_out_that_passes_is_the_answer(smc: Smc) -> None:
    solution, notes = smc(Divided(), particles=16, potential="passes")
    assert solution.passed
    assert not notes
    usage = solution.generation.usage
    assert usage["rollout"].output_tokens > usage["particles"].output_tokens  # after one line


def test_the_best_of_the_finished_programs_is_the_answer(smc: Smc) -> None:
    solution, _ = smc(Failing(), particles=3)
    assert not solution.passed
    assert solution.code == "def f(x):\n    y = x / 0\n    return y\n"
    assert [each.stage for each in solution.attempts] == ["particles"]


def test_a_record_has_the_answer_that_grew_best(smc: Smc) -> None:
    recorder = Recorder(UnitEntry(task_id="t/double"))
    solution, _ = smc(Divided(), particles=4, recorder=recorder)
    told = trajectory(load_record(recorder.content()))
    assert solution.passed
    assert (told["code"], told["label"]) == (solution.code, True)
    assert "y = x + x" in told["completion"]
    assert told["prompt"]


@pytest.mark.parametrize("potential", ["runs", "passes"])
def test_without_visible_tests_one_particle_grows(
    smc: Smc, double: Problem, potential: str
) -> None:
    blind = evolve(double, visible_tests=[])
    solution, _ = smc(Failing(), problem=blind, potential=potential, particles=9)
    assert solution.code.startswith("def f")
    one, _ = smc(Failing(), potential="runs", particles=1)
    assert (
        solution.generation.usage["particles"].output_tokens
        == one.generation.usage["particles"].output_tokens
    )
    assert "rollout" not in solution.generation.usage


def test_answers_without_a_program_are_an_answer_all_the_same(smc: Smc) -> None:
    solution, _ = smc(Silent(), particles=2)
    assert not solution.passed
    assert solution.code == ""
    assert len(solution.attempts) == 1


def test_it_needs_log_probabilities(solve: Callable[..., Any], programs: Any) -> None:
    with pytest.raises(CapabilityError, match="tells no log-probabilities"):
        solve("smc", [programs.same])


@given(
    st.lists(st.floats(0.001, 1), min_size=1, max_size=20),
    st.floats(0, 1, exclude_max=True),
)
def test_each_goes_on_as_often_as_its_weight_asks_for(raw: list[float], random: float) -> None:
    weights = np.array(raw) / sum(raw)
    chosen = resampled(weights, random)
    assert len(chosen) == len(raw)
    counts = Counter(chosen)
    for place, weight in enumerate(weights):
        assert abs(counts[place] - len(raw) * weight) < 1 + 1e-9
