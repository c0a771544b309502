"""What a harness asks: one engine with one configuration; problems in, solutions out.

The harness decides about programs, with tests that never come here: a problem keeps those of its
visible tests that the decoder may execute (`egcfg.DecoderTests`), and no others.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from egcfg.config import RunConfig, load_config
from egcfg.config.components import check_names, model_label
from egcfg.config.schema import settings
from egcfg.datasets.decoder_tests import with_decoder_tests
from egcfg.datasets.shapes.table import problem_from
from egcfg.engine import Engine
from egcfg.errors import ConfigError, ContextOverflowError, did_you_mean
from egcfg.interfaces.method import Configuration
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.solution import Solution
from egcfg.interfaces.usage import Usage
from egcfg.runs.plan import base_settings, model_budget, planned_grid
from egcfg.usage.budget import Meter

__all__ = ["Ask", "HarnessModel", "harness_config", "seen_alone"]

logger = logging.getLogger(__name__)

DEFAULTS = {"gamma": (1.0,)}


@frozen(kw_only=True)
class Ask:
    """One question of a harness.

    Attributes:
        problem: what to solve.
        n: how many solutions.
        max_tokens: response tokens that the harness allows; None: as configured. The smaller holds.
        temperature: at which guided tokens are sampled; None: as configured.
        seed: of everything random; None: as configured.
        seconds: how long each solution may take: the method's last attempt by then stands.
    """

    problem: Problem
    n: int = 1
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    seconds: float | None = None


def harness_config(values: Mapping[str, Any]) -> RunConfig:
    """Return the configuration that a harness's arguments for its model say.

    As everywhere, ``egcfg.toml`` and the environment hold where they say nothing; gamma is 1 then.

    Args:
        values: settings by name, such as ``gamma``, and options of components, such as
            ``backend.weights``.

    Raises:
        ConfigError: there is no such setting or option, or a value does not fit it.
    """
    flags: dict[str, Any] = {}
    options: list[str] = []
    for name, value in values.items():
        if "." in name:
            options.append(f"{name}={value}")
        elif name in settings():
            flags[name] = value
        else:
            raise ConfigError(f"no setting named {name!r}{did_you_mean(name, settings())}")
    return load_config(flags, options, defaults=DEFAULTS).config


def seen_alone(problem: Problem) -> Problem:
    """Return a problem without hidden tests, judged by its visible ones, of which it may have none.

    What decided is the harness's business.
    """
    scorer = problem.scorer
    if all(isinstance(test, AssertTest) for test in problem.visible_tests):
        scorer = "stdio" if problem.entry_point is None else "asserts"
    return evolve(problem, hidden_tests=(), scorer=scorer)


class HarnessModel:
    """One engine with one configuration, and what a record of its runs is to say about both.

    Attributes:
        config: what was asked for.
        engine: solves, on a loop of its own, whatever loops a harness has.
        spent: what was spent on solutions so far.

    Raises:
        UsageError: a component is not installed, or there are several configurations or gammas.
    """

    def __init__(self, config: RunConfig) -> None:
        check_names(config)
        # A problem of any kind tells how many configurations there are.
        asked = Problem(task_id="asked", description="", entry_point=None, visible_tests=())
        grid = planned_grid(config, [asked])
        if len(grid) != 1:
            raise ConfigError(
                f"a harness asks one model, and these are {len(grid)}: "
                f"{'; '.join(str(unit).partition(', ')[2] for unit in grid)}; "
                "give one gamma and one value of each other setting"
            )
        self.config = config
        self.spent = Usage()
        [unit] = grid
        self._configurations = unit.configurations(base_settings(config))
        meter = Meter(model_budget(config, model_label(config) or ""))
        self.engine = Engine(config, meter=meter)
        atexit.register(self.close)

    @property
    def told(self) -> dict[str, Any]:
        """What a record of a run is to say: which model, how it is asked, which tests it sees."""
        import egcfg

        first = self._configurations[0]
        return {
            "egcfg": egcfg.__version__,
            "backend": self.config.backend,
            "model": model_label(self.config) or self.config.backend,
            "method": self.config.method,
            "gamma": [each.settings.gamma for each in self._configurations],
            "prompt": first.prompt,
            "tracer": self.config.tracer,
            "max_tokens": first.settings.max_tokens,
            "seed": first.settings.seed,
            "decoder_tests": self.config.decoder_tests.value,
        }

    def __str__(self) -> str:
        told = ", ".join(
            f"{name} {' '.join(map(str, value)) if isinstance(value, list) else value}"
            for name, value in self.told.items()
        )
        return f"{told} (of the tests, the decoder executes these alone)"

    def problem(self, record: Mapping[str, Any]) -> Problem:
        """Return the problem of a data set's record, with the tests alone that may be executed.

        Raises:
            DataError: it has no known shape, or cannot be used.
        """
        return seen_alone(problem_from(record, decoder_tests=self.config.decoder_tests))

    def as_seen(self, problem: Problem) -> Problem:
        """Return a problem that was made elsewhere, likewise."""
        return seen_alone(with_decoder_tests(problem, self.config.decoder_tests))

    async def solve(self, ask: Ask) -> list[Solution]:
        """Return the solutions of one question; none, with a warning, where the model's context
        does not hold it.

        Raises:
            EgcfgError: as `egcfg.Engine.solve_steps`.
        """
        await self.engine.open()  # the model's loading is no part of an answer's time
        try:
            solutions = await self.engine.solve_samples(
                ask.problem,
                n=ask.n,
                configurations=[self._configured(each, ask) for each in self._configurations],
                deadline=None if ask.seconds is None else time.monotonic() + ask.seconds,
            )
        except ContextOverflowError as error:
            logger.warning("task %s: %s", ask.problem.task_id, error)
            return []
        for solution in solutions:
            self.spent += solution.generation.total_usage
        return solutions

    async def solve_all(
        self, asks: Sequence[Ask], on_solved: Callable[[int], None] = lambda _: None
    ) -> list[list[Solution]]:
        """Return the solutions of each question; as many are at work at once as is configured.

        Args:
            asks: the questions.
            on_solved: is told the place of each one that is solved.

        Raises:
            EgcfgError: as `solve`; the other questions are then given up.
        """
        backend = await self.engine.open()
        places = iter(range(len(asks)))
        found: dict[int, list[Solution]] = {}

        async def work() -> None:
            for place in places:
                found[place] = await self.solve(asks[place])
                on_solved(place)

        at_once = self.config.concurrency or backend.tasks_in_flight
        workers = [asyncio.create_task(work()) for _ in range(min(at_once, len(asks)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return [found[place] for place in range(len(asks))]

    def _configured(self, configuration: Configuration, ask: Ask) -> Configuration:
        settings = configuration.settings
        if ask.max_tokens is not None:
            settings = evolve(settings, max_tokens=min(ask.max_tokens, settings.max_tokens))
        if ask.temperature is not None:
            settings = evolve(settings, guided_temperature=ask.temperature)
        if ask.seed is not None:
            settings = evolve(settings, seed=ask.seed)
        return evolve(configuration, settings=settings)

    def answers(
        self, asks: Sequence[Ask], on_solved: Callable[[int], None] = lambda _: None
    ) -> list[list[Solution]]:
        """Do as `solve_all`, for harnesses that block."""
        return self.engine.blocking.run(self.solve_all(asks, on_solved))

    async def answer(self, ask: Ask) -> list[Solution]:
        """Do as `solve`, for harnesses with an event loop, or several one after another.

        Raises:
            UsageError: that loop is not asyncio's.
        """
        return await self.engine.blocking.wait(self.solve(ask))

    def close(self) -> None:
        """Close the engine; the end of the process does, too, since no harness does it."""
        atexit.unregister(self.close)
        self.engine.__exit__(None, None, None)
