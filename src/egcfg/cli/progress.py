"""What a person sees while a run works: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from egcfg.cli.logs import is_quiet
from egcfg.cli.terminal import console, printable_line
from egcfg.errors import BackendError
from egcfg.interfaces.solution import LineStep
from egcfg.runs.grid import Unit
from egcfg.runs.results import Result
from egcfg.runs.runner import RunObserver, RunSummary
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

    def unit_finished(self, unit: Unit, result: Result) -> None:
        """Say how a unit ended."""
        self.done += 1
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
        said = f"{result.stats.output_tokens} tokens, {result.stats.seconds:.1f} s"
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
    """Finished units scroll by above a bar and the line that is being decided."""

    def __init__(self) -> None:
        super().__init__()
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

        self.progress: Progress = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            Description(Column(ratio=1, no_wrap=True)),
            console=console(),
            transient=True,
            expand=True,
        )
        self.bar: TaskID = self.progress.add_task("opening the model", total=None)
        self.tokens = 0

    def run_started(self, total: int, done: int) -> None:
        """Show the bar."""
        super().run_started(total, done)
        self.progress.update(self.bar, total=total, completed=done)

    def unit_started(self, unit: Unit) -> None:
        """Show what is being solved."""
        self.tokens = 0
        self.progress.update(self.bar, description=printable_line(str(unit)))

    def line_decided(self, unit: Unit, step: LineStep) -> None:
        """Show the line that was decided last."""
        self.tokens += len(step.tokens)
        line = printable_line(step.text.strip())[:CODE_SHOWN]
        said = f"{printable_line(str(unit))}: {self.tokens} tokens  {line}"
        if self.meter.budget.limited:
            share = self.meter.budget.share(self.meter.spending.total)
            said = f"budget {share:.0%}; {said}"
        self.progress.update(self.bar, description=said)

    def unit_finished(self, unit: Unit, result: Result) -> None:
        """Say how a unit ended and move the bar."""
        super().unit_finished(unit, result)
        self.progress.update(self.bar, completed=self.done)

    def run_finished(self, summary: RunSummary) -> None:
        """Leave the last state of the bar."""
        self.progress.update(self.bar, completed=summary.done, description="")

    def say(self, line: str) -> None:
        """Write one line above the bar."""
        self.progress.console.print(printable_line(line))

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


def run_progress() -> PlainProgress:
    """Return the view that suits standard error; ``--quiet`` silences it."""
    if not is_quiet() and sys.stderr.isatty():
        return LiveProgress()
    return PlainProgress()


def _verdict(result: Result) -> str:
    if result.global_cached:
        return "skipped, its task is solved"
    return "passed" if result.passed else "not passed"
