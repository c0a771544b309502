"""What the driver and the actors tell each other, and what an actor does with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from egcfg.bench import MadeAttempt
from egcfg.config import RunConfig
from egcfg.config.components import configured_sandbox
from egcfg.engine import Engine
from egcfg.errors import ConfigError
from egcfg.interfaces.method import Configuration
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.solution import LineStep, Solution
from egcfg.interfaces.usage import Usage
from egcfg.records.entries import UnitEntry
from egcfg.records.recorder import Recorder
from egcfg.runs.fingerprint import component_provenance
from egcfg.runs.store import flat
from egcfg.usage.budget import Budget, Meter

__all__ = ["NodeLedger", "Opening", "Step", "UnitRequest", "next_step", "open_on_node"]

Steps = AsyncGenerator[LineStep | MadeAttempt | Solution, None]


@frozen(kw_only=True)
class Opening:
    """What an actor is to open.

    Attributes:
        config: the run's; it holds no secrets.
        budget: of the whole run.
        provenances: by prompt builder, what determines the text, as the driver finds it.
    """

    config: RunConfig
    budget: Budget
    provenances: Mapping[str, Mapping[str, Any]]


@frozen(kw_only=True)
class UnitRequest:
    """A unit to solve.

    Attributes:
        problem, configurations, attempts_stand: see `Engine.solve_steps`.
        entry: begins its record; None: nothing is recorded.
    """

    problem: Problem
    configurations: Sequence[Configuration]
    attempts_stand: bool
    entry: UnitEntry | None

    def begin(self, engine: Engine) -> tuple[Steps, Recorder | None]:
        """Return what solves it, and what records that."""
        recorder = None if self.entry is None else Recorder(self.entry)
        steps = engine.solve_steps(
            self.problem,
            configurations=self.configurations,
            attempts_stand=self.attempts_stand,
            recorder=recorder,
        )
        return steps, recorder


@frozen
class Step:
    """How far a unit has come.

    Attributes:
        step: an attempt, or the solution, after which nothing comes.
        record: the solution's record, if there is one.
    """

    step: MadeAttempt | Solution
    record: bytes | None

    @property
    def is_last(self) -> bool:
        """Whether the unit is solved."""
        return isinstance(self.step, Solution)


@define
class NodeLedger:
    """Tells an actor's meter what the driver told last; the driver asks for what is spent here."""

    spent_elsewhere: Usage = field(factory=Usage)

    def others(self) -> Usage:
        """Return what all others spent."""
        return self.spent_elsewhere

    def note(self, usage: Usage, *, at_once: bool) -> None:
        """Keep nothing."""


async def open_on_node(opening: Opening) -> tuple[Engine, NodeLedger, dict[str, Any]]:
    """Open sandbox and model, and return what `egcfg.cluster.actor.NodeActor.open` answers.

    Raises:
        EgcfgError: this node cannot do what the driver's could, or has another model.
    """
    config = opening.config
    _check_model(config, opening.provenances)
    sandbox = configured_sandbox(config)
    report = await sandbox.report()
    ledger = NodeLedger()
    engine = Engine(config, sandbox=sandbox, meter=Meter(opening.budget, ledger))
    backend = await engine.open()
    missing = {name: report.layers.get(name, "absent") for name in report.missing}
    tasks = config.concurrency or backend.tasks_in_flight
    return engine, ledger, {"missing": missing, "tasks": tasks}


async def next_step(steps: Steps, recorder: Recorder | None) -> Step:
    """Return the next attempt or the solution."""
    async for step in steps:
        if not isinstance(step, LineStep):
            ends = recorder is not None and isinstance(step, Solution)
            return Step(step, recorder.content() if recorder is not None and ends else None)
    raise AssertionError("the last step is the solution")


def _check_model(config: RunConfig, provenances: Mapping[str, Mapping[str, Any]]) -> None:
    """See that texts are determined here by what they are on the driver."""
    for prompt, wanted in provenances.items():
        here, there = flat(component_provenance(config, prompt)), flat(wanted)
        differing = sorted(name for name in {*here, *there} if here.get(name) != there.get(name))
        if "backend.model" in differing and config.model is not None:
            is_there = Path(config.model).exists()
            raise ConfigError(
                f"the model {config.model} is {'another one' if is_there else 'not there'}; put it "
                "into a folder that all nodes share, or at the same path on each"
            )
        if differing:
            raise ConfigError(
                "texts would be made otherwise there: "
                + "; ".join(f"{n} is {here.get(n)}, not {there.get(n)}" for n in differing)
            )
