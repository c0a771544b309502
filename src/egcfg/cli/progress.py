"""What a person sees while a run works: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click
from attrs import define

from egcfg.cli.logs import is_quiet
from egcfg.cli.terminal import console, printable_line
from egcfg.errors import BackendError
from egcfg.interfaces.solution import LineStep
from egcfg.runs.grid import Unit
from egcfg.runs.observer import RunObserver, RunSummary
from egcfg.runs.results import Result
from egcfg.usage.budget import Meter, count_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["LiveProgress", "PlainProgress", "run_progress"]

CODE_SHOWN = 48


class PlainProgress(RunObserver):
    """One line per finished unit; a context manager, so that it can stand for `LiveProgress`.

    Attributes:
        meter: says what things cost, and what is spent; set once the model's name is known.
    """

    def __init__(self) -> None:
        self.total = 0
        self.done = 0
        self.meter = Meter()

    def run_started(self, total: int, done: int) -> None:
        """Say how much there is to do."""
        self.total, self.done = total, done
        if done:
            self.say(f"{done} of {total} units are done already")

    def round_started(self, number: int, units: int) -> None:
        """Say how many units go on."""
        self.say(f"round {number}: {units} unit{'' if units == 1 else 's'}")

    def unit_finished(self, unit: Unit, result: Result) -> None:
        """Say how a unit ended."""
        self.done += not result.unfinished
        self.say(f"[{self.done}/{self.total}] {unit}: {_verdict(result)}{self._cost(result)}")

    def unit_failed(self, unit: Unit, error: BackendError) -> None:
        """Say that a unit stays undone."""
        self.say(f"[{self.done}/{self.total}] {unit}: left undone: {error}")

    def say(self, line: str) -> None:
        """Write one line."""
        if not is_quiet():
            click.echo(printable_line(line), err=True)

    def _cost(self, result: Result) -> str:
        if result.stats is None:
            return ""
        said = f"{result.stats.output_tokens} tokens"
        if result.stats.concurrency == 1:  # else they are shared
            said += f", {result.stats.seconds:.1f} s"
        if (prices := self.meter.budget.prices) is not None:
            said += f", cost {count_text(prices.cost(result.stats.total_usage))}"
        return f" ({said})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing is held."""


class LiveProgress(PlainProgress):
    """Finished units scroll by above a bar, how fast it moves, and what this process works on."""

    def __init__(self) -> None:
        super().__init__()
        self.in_flight: dict[int, _AtWork] = {}
        self.at_work = ""  # read by the thread that draws
        self.solved = 0
        self.finished = 0
        self.first_start: float | None = None
        from rich.console import RenderableType
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TimeElapsedColumn,
        )
        from rich.table import Column
        from rich.text import Text

        class Description(ProgressColumn):
            """What is being done, as it is: rich's own column would read markup in it."""

            def render(self, task: Task) -> Text:
                return Text(task.description, overflow="ellipsis", no_wrap=True)

        view = self

        class TwoLines(Progress):
            """The bar, and below it what is in flight, as much of it as the width allows."""

            def get_renderables(self) -> Iterable[RenderableType]:
                yield from super().get_renderables()
                if view.at_work:
                    yield Text(view.at_work, overflow="ellipsis", no_wrap=True)

        self.progress: Progress = TwoLines(
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            Description(Column(ratio=1, no_wrap=True)),
            console=console(),
            transient=True,
            expand=True,
        )
        self.bar: TaskID = self.progress.add_task("opening the model", total=None)

    def run_started(self, total: int, done: int) -> None:
        """Show the bar."""
        super().run_started(total, done)
        self.progress.update(self.bar, total=total, completed=done)

    def unit_started(self, unit: Unit) -> None:
        """Show what is being solved."""
        if self.first_start is None:
            self.first_start = time.monotonic()
        self.in_flight[id(unit)] = _AtWork(unit)
        self._describe()

    def unit_suspended(self, unit: Unit) -> None:
        """Show it no longer, until its next turn."""
        del self.in_flight[id(unit)]
        self._describe()

    def line_decided(self, unit: Unit, step: LineStep) -> None:
        """Show the line that was decided last, where one unit is at work."""
        at_work = self.in_flight[id(unit)]
        at_work.tokens += len(step.tokens)
        at_work.line = step.text.strip()
        self._describe()

    def unit_finished(self, unit: Unit, result: Result) -> None:
        """Say how a unit ended and move the bar."""
        super().unit_finished(unit, result)
        if self.in_flight.pop(id(unit), None) is not None:  # else nobody solved it here
            self.finished += 1
            self.solved += result.passed
        self.progress.update(self.bar, completed=self.done)
        self._describe()

    def unit_failed(self, unit: Unit, error: BackendError) -> None:
        """Say that a unit stays undone."""
        super().unit_failed(unit, error)
        del self.in_flight[id(unit)]
        self._describe()

    def run_finished(self, summary: RunSummary) -> None:
        """Leave the last state of the bar."""
        self.at_work = ""
        self.progress.update(self.bar, completed=summary.done, description="")

    def _what_is_in_flight(self) -> str:
        """Return what this process works on: how many units, and the tasks' names."""
        if not self.in_flight:
            return ""
        if len(self.in_flight) == 1:
            [now] = self.in_flight.values()
            said = f"{now.unit}: {now.tokens} tokens  {now.line[:CODE_SHOWN]}"
        else:
            names = ", ".join(each.unit.problem.task_id for each in self.in_flight.values())
            said = f"{len(self.in_flight)} in flight: {names}"
        return printable_line(said)

    def say(self, line: str) -> None:
        """Write one line above the bar."""
        self.progress.console.print(printable_line(line))

    def _describe(self) -> None:
        """Say how this process gets on; what others do is not counted."""
        self.at_work = self._what_is_in_flight()
        parts = []
        if self.meter.budget.limited:
            parts.append(f"budget {self.meter.budget.share(self.meter.spending.total):.0%}")
        parts.append(f"{self.solved} of {self.finished} solved")
        if self.finished and self.first_start is not None:
            seconds = (time.monotonic() - self.first_start) / self.finished
            left = timedelta(seconds=round(seconds * (self.total - self.done)))
            parts += [f"{60 / max(seconds, 1e-3):.3g} a minute", f"{left} left"]
        self.progress.update(self.bar, description=", ".join(parts))

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the terminal back."""
        self.progress.stop()


@define
class _AtWork:
    """How far a unit is.

    Attributes:
        unit: what is solved.
        tokens: decided so far.
        line: decided last.
    """

    unit: Unit
    tokens: int = 0
    line: str = ""


def run_progress() -> PlainProgress:
    """Return the view that suits standard error; ``--quiet`` silences it."""
    if not is_quiet() and sys.stderr.isatty():
        return LiveProgress()
    return PlainProgress()


def _verdict(result: Result) -> str:
    if result.global_cached:
        return "skipped, its task is solved"
    if not result.passed and not result.attempts and result.general_error is not None:
        return f"not passed: {result.general_error}"
    verdict = "passed" if result.passed else "not passed"
    return f"{verdict} so far, cut short by the budget" if result.unfinished else verdict
