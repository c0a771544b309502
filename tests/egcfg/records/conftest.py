"""One unit, really decoded, run and judged, with its record."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from attrs import frozen

from egcfg.config import RunConfig
from egcfg.config.schema import OptionValue
from egcfg.decoding.settings import DecodingSettings
from egcfg.engine import Engine
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.solution import LineStep, Solution
from egcfg.plugins.hookspecs import Kind
from egcfg.records.entries import UnitEntry
from egcfg.records.reading import UnitRecord, load_record
from egcfg.records.recorder import Recorder
from egcfg.sandbox import Sandbox
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions

Run = Callable[[Coroutine[Any, Any, Any]], Any]

PROBLEM = Problem(
    task_id="t/total",
    description="Add up the numbers.",
    entry_point="f",
    visible_tests=[AssertTest("assert f([1, 2]) == 3"), AssertTest("assert f([]) == 0")],
    hidden_tests=[AssertTest("assert f([5, 6, 7]) == 18")],
)
ANSWER = """```python
def f(numbers):
    total = 0
    for number in numbers:
        total += number
    return total
```"""


@frozen
class Recorded:
    """What a unit's caller saw, and the bytes of its record."""

    solution: Solution
    steps: list[LineStep]
    content: bytes

    @property
    def record(self) -> UnitRecord:
        return load_record(self.content)


def script(text: str) -> str:
    """Go on with the answer, whatever the signal says."""
    written = text.rpartition("<assistant>\n")[2]
    return ANSWER[len(written) :] if ANSWER.startswith(written) else ""


@pytest.fixture(scope="session")
def solve_recorded(run: Run) -> Iterator[Callable[..., Recorded]]:
    """Solve the problem with a scripted model and write it down."""
    sandbox = Sandbox()

    def solve(*, gamma: float = 1.0, problem: Problem = PROBLEM, **options: Any) -> Recorded:
        values = [
            OptionValue(kind=Kind.METHOD, component="", name=name, value=value, origin="test")
            for name, value in options.items()
        ]
        recorder = Recorder(UnitEntry(task_id=problem.task_id, gamma=gamma))
        steps: list[LineStep] = []

        async def work() -> Solution:
            config = RunConfig(options=tuple(values))
            backend = ScriptedBackend(ScriptedOptions(script=script, noise=0.3))
            async with Engine(config, backend=backend, sandbox=sandbox) as engine:
                return await engine.solve(
                    problem,
                    DecodingSettings(gamma=gamma, horizon=2),
                    on_step=steps.append,
                    recorder=recorder,
                )

        solution = run(work())
        return Recorded(solution, steps, recorder.content())

    yield solve
    sandbox.close()


@pytest.fixture(scope="session")
def recorded(solve_recorded: Callable[..., Recorded]) -> Recorded:
    """Return the guided unit."""
    return solve_recorded()
