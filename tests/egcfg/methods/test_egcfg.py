"""egcfg with policies that need more than the loop: a bench that judges, and another task."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from egcfg.config import RunConfig
from egcfg.decoding.settings import DecodingSettings, Policies
from egcfg.engine import Engine
from egcfg.errors import ConfigError
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.solution import LineStep, Solution
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.records.entries import UnitEntry
from egcfg.records.lines import answer_decoding
from egcfg.records.reading import load_record
from egcfg.records.recorder import Recorder
from egcfg.records.trajectories import trajectory
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def answer(text: str) -> str:
    """Answer the one task or the other, whichever the prompt is about, at once."""
    response = text.rpartition("```python\n")[2]
    name = "f" if "Double a number" in text else "add"
    program = {"add": "def add(a, b):\n    return a + b\n", "f": "def f(x):\n    return x + x\n"}
    return (program[name] + "```\n")[len(response) :]


@pytest.fixture
def solved(run: Run) -> Callable[..., tuple[Solution, list[LineStep], ScriptedBackend]]:
    def solve(
        problem: Problem, gamma: float = 1.0, recorder: Recorder | None = None, **options: Any
    ) -> Any:
        backend = ScriptedBackend(ScriptedOptions(script=answer, noise=0.001))
        steps: list[LineStep] = []

        async def work() -> Solution:
            config = RunConfig(prompt=["long_code"])
            method = create(Kind.METHOD, "egcfg", options)
            async with Engine(config, backend=backend, method=method) as engine:
                settings = DecodingSettings(gamma=gamma)
                return await engine.solve(
                    problem, settings, on_step=steps.append, recorder=recorder
                )

        return run(work()), steps, backend

    return solve


def test_verdicts_on_the_visible_tests_reach_the_signal(
    solved: Callable[..., Any], double: Problem
) -> None:
    solution, steps, _ = solved(double, verdicts="mark", signed=True)
    assert solution.passed
    texts = [step.signal.text for step in steps if step.signal and step.signal.text]
    assert texts
    assert "-> satisfied" in texts[-1]
    assert "signed: towards what is shown, all programs pass 100 % of the visible tests" in (
        decision for step in steps for decision in step.decisions
    )


def test_a_placebo_shows_the_signals_of_another_task_and_runs_nothing_of_this_one(
    solved: Callable[..., Any], double: Problem
) -> None:
    solution, steps, backend = solved(double, placebo=True)
    assert solution.code == "def f(x):\n    return x + x\n"
    shown = [step.signal for step in steps if step.signal]
    assert shown
    for signal in shown:
        assert "def add(a, b)" in signal.text
        assert "def f" not in signal.text
    told = [decision for step in steps for decision in step.decisions]
    assert [text.partition(" of ")[0] for text in told][:2] == [
        "placebo: signal 1",
        "placebo: signal 2",
    ]
    assert all(text.endswith("of the task add") for text in told)
    asked = {bytes(request.ids).decode() for request in backend.scored}
    assert any("Double a number" in text and "def add(a, b)" in text for text in asked)


def test_a_record_has_the_other_task_of_a_placebo_and_says_so(
    solved: Callable[..., Any], double: Problem
) -> None:
    recorder = Recorder(UnitEntry(task_id=double.task_id))
    solution, steps, _ = solved(double, recorder=recorder, placebo=True)
    record = load_record(recorder.content())
    assert [each.task_id for each in record.decodings] == ["add", None]
    own = [step for entry, step in record.steps() if entry.decoding == 1]
    shown = [step.signal.text for step in steps if step.signal]
    assert [step.signal.text for step in own if step.signal] == shown
    other = [step for entry, step in record.steps() if entry.decoding == 0]
    made = [step.signal for step in other if step.signal and step.fresh]
    assert made
    assert all(text in {signal.text for signal in made} for text in shown)
    decoding = answer_decoding(record)
    assert decoding is not None
    assert decoding.decoding == 1
    told = trajectory(record)
    assert told["code"] == solution.code
    assert {line["decoding"] for line in told["lines"]} == {1}


def test_at_gamma_0_no_other_task_is_decoded(solved: Callable[..., Any], double: Problem) -> None:
    _, _, backend = solved(double, gamma=0.0, placebo=True)
    assert not any(b"add(a, b)" in bytes(request.ids) for request in backend.scored)


def test_a_placebo_excludes_what_goes_by_the_task_s_own_programs() -> None:
    for other in ({"gate": True}, {"signed": True}, {"verdicts": "mark"}, {"order": "best_first"}):
        with pytest.raises(ConfigError, match="placebo excludes"):
            create(Kind.METHOD, "egcfg", {"placebo": True, **other})
    assert Policies(placebo=True, accept=True, confident=0.7, comments="keep").placebo
