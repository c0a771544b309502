"""Plugins are told of a run by their hooks, may ask it to stop, and cannot break it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from egcfg.decoding.settings import DecodingSettings
from egcfg.errors import RunStoppedError
from egcfg.plugins.hookspecs import hookimpl
from egcfg.plugins.registry import load_registry
from egcfg.runs.config_string import SignalConfig
from egcfg.runs.grid import Grid
from egcfg.runs.hooks import HookObserver
from egcfg.runs.observer import RunObserver, RunSummary
from egcfg.runs.plan import RunPlan
from egcfg.runs.runner import run as run_units
from egcfg.runs.store import ResultsFolder
from egcfg.usage.budget import Budget

CONFIG = SignalConfig.parse("ns2t0.75d2_ln")


class Entry:
    """An entry point of a distribution that is not on disk."""

    def __init__(self, plugin: object) -> None:
        self.plugin = plugin
        self.name = type(plugin).__name__.lower()
        self.dist = None

    def load(self) -> object:
        return self.plugin


class Diary:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    @hookimpl
    def egcfg_run_started(self, run: Any) -> None:
        self.heard.append(("started", run.dataset, run.model, run.method, run.units, run.done))

    @hookimpl
    def egcfg_line_decided(self, task_id: str, gamma: float, step: Any) -> None:
        self.heard.append(("line", task_id, gamma, step.text))

    @hookimpl
    def egcfg_unit_finished(self, row: Any) -> None:
        self.heard.append(("finished", row.task_id, row.config, row.gamma, row.passed))

    @hookimpl
    def egcfg_run_finished(self) -> None:
        self.heard.append(("ended",))


class Stopper:
    """Asks to stop after two units."""

    finished = 0

    @hookimpl
    def egcfg_unit_finished(self) -> str | None:
        self.finished += 1
        return "two are enough" if self.finished >= 2 else None


class Raising:
    @hookimpl
    def egcfg_run_started(self) -> None:
        raise RuntimeError("no tracking server")

    @hookimpl
    def egcfg_line_decided(self) -> None:
        raise SystemExit(7)

    @hookimpl
    def egcfg_unit_finished(self) -> Any:
        return 7


class Told(RunObserver):
    def __init__(self) -> None:
        self.finished = 0

    def unit_finished(self, unit: Any, result: Any) -> None:  # noqa: ARG002
        self.finished += 1


@pytest.fixture
def observed(tmp_path: Path, make_problem: Any, solver: Any) -> Any:
    """Run four tasks, observed by plugins; return the summary and what another observer heard."""

    def run(*plugins: object, at_once: int = 1) -> tuple[RunSummary, Told]:
        folder = ResultsFolder(tmp_path, "numbers", "model")
        grid = Grid(problems=[make_problem(str(n)) for n in range(4)], configs=[CONFIG], gammas=[1])
        plan = RunPlan(
            grid=grid,
            folder=folder,
            settings=DecodingSettings(),
            provenance_of=lambda _: {},
            budget=Budget(),
        )
        reports = load_registry([Entry(each) for each in plugins]).reports  # type: ignore[misc]
        assert all(report.error is None and report.observes for report in reports)
        told = Told()

        async def open_model() -> int:
            return at_once

        observer = HookObserver(told, reports, plan, "egcfg")
        work = run_units(grid, folder, solver, open_model=open_model, observer=observer)
        return asyncio.run(work), told

    return run


def test_a_plugin_hears_of_the_run_of_each_line_and_of_each_result(observed: Any) -> None:
    diary = Diary()
    summary, told = observed(diary)

    assert summary.complete
    assert told.finished == 4
    assert diary.heard[0] == ("started", "numbers", "model", "egcfg", 4, 0)
    assert diary.heard[1] == ("line", "0", 1.0, "def f(n):\n")
    assert diary.heard[2] == ("finished", "0", str(CONFIG), 1.0, True)
    assert diary.heard[-1] == ("ended",)
    assert len(diary.heard) == 1 + 4 + 4 + 1


def test_a_plugin_stops_a_run_which_goes_on_later(observed: Any) -> None:
    summary, told = observed(Stopper())

    assert isinstance(summary.ended_early, RunStoppedError)
    assert "the plugin 'stopper' of unknown" in str(summary.ended_early)
    assert "asked to stop: two are enough; run the same command again" in str(summary.ended_early)
    assert (summary.finished, told.finished) == (2, 2)

    again, _ = observed(Diary())
    assert (again.done_before, again.finished, again.ended_early) == (2, 2, None)


def test_units_in_flight_go_on_to_their_end(observed: Any) -> None:
    summary, told = observed(Stopper(), at_once=4)
    assert (summary.finished, told.finished, summary.complete) == (4, 4, True)


def test_a_hook_that_raises_is_reported_once_and_ends_nothing(
    observed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    diary = Diary()
    with caplog.at_level(logging.WARNING, logger="egcfg.runs.hooks"):
        summary, _ = observed(Raising(), diary)

    assert summary.complete
    assert summary.ended_early is None
    assert diary.heard[-1] == ("ended",)
    said = [message.partition(": ")[2] for message in caplog.messages]
    assert said == [
        "egcfg_run_started raised RuntimeError: no tracking server",
        "egcfg_line_decided raised SystemExit: 7",
        "egcfg_unit_finished raised TypeError: it gave int, not why the run is to stop",
    ]
    assert all("the plugin 'raising' of unknown" in message for message in caplog.messages)
