"""Tells plugins what a run does, through their hooks; one that raises is reported and no more."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from egcfg.errors import BackendError, summarize
from egcfg.interfaces.solution import LineStep
from egcfg.plugins.hookspecs import RunInfo
from egcfg.plugins.registry import PluginReport
from egcfg.reports.rows import ResultRow
from egcfg.runs.grid import Unit
from egcfg.runs.observer import RunObserver, RunSummary
from egcfg.runs.plan import RunPlan
from egcfg.runs.results import Result

__all__ = ["HookObserver"]

logger = logging.getLogger(__name__)


class HookObserver(RunObserver):
    """Hands everything on to another observer, and what plugins may know to their hooks.

    Args:
        observer: the other one.
        plugins: those that have such hooks.
        plan: of the run.
        method: its method's name.
    """

    def __init__(
        self, observer: RunObserver, plugins: Sequence[PluginReport], plan: RunPlan, method: str
    ) -> None:
        self._observer = observer
        self._plugins = plugins
        self._folder = plan.folder
        self._method = method
        self._run: RunInfo
        self._told: set[tuple[str, str]] = set()

    def run_started(self, total: int, done: int) -> None:
        """Tell of the run."""
        self._observer.run_started(total, done)
        self._run = RunInfo(
            dataset=self._folder.dataset,
            model=self._folder.model,
            method=self._method,
            folder=self._folder.path,
            units=total,
            done=done,
        )
        self._tell("egcfg_run_started")

    def round_started(self, number: int, units: int) -> None:
        """Hand it on."""
        self._observer.round_started(number, units)

    def unit_started(self, unit: Unit) -> None:
        """Hand it on."""
        self._observer.unit_started(unit)

    def unit_suspended(self, unit: Unit) -> None:
        """Hand it on."""
        self._observer.unit_suspended(unit)

    def line_decided(self, unit: Unit, step: LineStep) -> None:
        """Tell of a line."""
        self._observer.line_decided(unit, step)
        self._tell(
            "egcfg_line_decided",
            task_id=unit.problem.task_id,
            config=str(unit.config),
            gamma=unit.gamma,
            step=step,
        )

    def unit_finished(self, unit: Unit, result: Result) -> None:
        """Tell of a result, by its file."""
        self._observer.unit_finished(unit, result)
        file = self._folder.read(str(unit.config), unit.problem.task_id, unit.gamma)
        if file is not None:
            self._tell("egcfg_unit_finished", row=ResultRow.of(file))

    def unit_failed(self, unit: Unit, error: BackendError) -> None:
        """Hand it on."""
        self._observer.unit_failed(unit, error)

    def run_finished(self, summary: RunSummary) -> None:
        """Tell of the end."""
        self._observer.run_finished(summary)
        self._tell("egcfg_run_finished")

    def _tell(self, hook: str, **facts: Any) -> None:
        """Call a hook of every plugin; keep the first reason to stop, and report what is raised."""
        for plugin in self._plugins:
            try:
                reasons = getattr(plugin.hooks, hook)(run=self._run, **facts)
                wrong = next((each for each in reasons if not isinstance(each, str)), None)
                if wrong is not None:
                    raise TypeError(f"it gave {type(wrong).__name__}, not why the run is to stop")
            except (Exception, SystemExit) as error:  # noqa: BLE001 - it must not end the run
                if (plugin.name, hook) not in self._told:  # else once for each line
                    self._told.add((plugin.name, hook))
                    logger.warning("%s: %s raised %s", plugin.title, hook, summarize(error))
            else:
                if reasons and self.stop is None:
                    self.stop = f"{plugin.title} asked to stop: {reasons[0]}"
