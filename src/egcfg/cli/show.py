"""``egcfg show``: how a result came about, from its record."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from egcfg.cli.logs import log_options
from egcfg.cli.terminal import console, printable_line
from egcfg.errors import EgcfgError, UsageError

if TYPE_CHECKING:
    from rich.text import Text

    from egcfg.interfaces.solution import LineStep
    from egcfg.interfaces.tracer import Tracer
    from egcfg.records.entries import StepEntry
    from egcfg.records.reading import UnitRecord
    from egcfg.records.telling import ToldEvent

__all__ = ["show_command"]


@click.command("show")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--line",
    type=click.IntRange(min=1),
    metavar="N",
    help="only the steps that decided this line of the program",
)
@log_options
def show_command(file: Path, line: int | None) -> None:
    """Show step by step how a result came about.

    FILE is a result file (task_id=....json) of a run with --record, or the record beside it
    (....record.jsonl.gz). Shows what `egcfg solve --explain` shows: the candidates of each line,
    what happened when they ran, and which tokens guidance changed; and what a method asked the
    model, ran and answered. What an earlier step has shown is named by it.
    """
    from egcfg.records.reading import read_record_of

    record = read_record_of(file)
    steps = _steps_of_line(record, line) if line is not None else None
    screen = console(sys.stdout)
    for told in _account(record, _tracer(record.unit.tracer), steps):
        screen.print(told)


def _steps_of_line(record: UnitRecord, line: int) -> list[StepEntry]:
    """Return the steps that decided a line of the answer.

    Raises:
        UsageError: none did.
    """
    from egcfg.records.entries import StepEntry
    from egcfg.records.lines import answer_decoding, code_lines

    decoding = answer_decoding(record)
    if decoding is None:
        raise UsageError(
            "the answer was not decoded line by line; leave --line out to see how it came about"
        )
    written = code_lines(record, decoding)
    wanted = {index for index, lines in written.items() if line in lines}
    if not wanted:
        known = sorted({number for lines in written.values() for number in lines})
        told = f"lines {known[0]} to {known[-1]} were" if known else "no line was"
        raise UsageError(f"no step decided line {line} of the program: {told} decided in steps")
    return [
        each
        for each in record.of_kind(StepEntry)
        if each.decoding == decoding.decoding and each.index in wanted
    ]


def _account(record: UnitRecord, tracer: Tracer, only: list[StepEntry] | None) -> Iterator[Text]:
    """Yield what a record tells, line by line; of its steps those in `only`, if it is given."""
    from attrs import evolve

    from egcfg.cli.explain import Explainer, styled
    from egcfg.records.entries import DecodingEntry, StepEntry
    from egcfg.records.telling import told_event

    unit = record.unit
    gamma = "" if unit.gamma is None else f", gamma {unit.gamma:g}"
    yield styled(f"=== task {unit.task_id}, {unit.config}{gamma}", "bold")
    explainer = Explainer(tracer)
    steps: Iterator[tuple[StepEntry, LineStep]] = record.steps()
    for entry in record.entries:
        if isinstance(entry, StepEntry):
            _, step = next(steps)
            if only is None:
                yield from explainer.lines(step)
            elif any(entry is each for each in only):
                # The step that its signal was made for may not be shown.
                yield from explainer.lines(evolve(step, fresh=step.signal is not None))
        elif only is None and (event := told_event(record, entry)):
            yield styled(f"--- {event.title}", "bold")
            if isinstance(entry, DecodingEntry):
                explainer = Explainer(tracer, entry.response_prefix)
            yield from _details(event)
    if only is None and record.dropped:
        yield styled(f"{record.dropped} further lines had no room in the record", "red")


def _details(event: ToldEvent) -> Iterator[Text]:
    from egcfg.cli.explain import code_lines, styled
    from egcfg.interfaces.scorer import TestStatus

    for text in event.texts:
        yield from code_lines(text, "    | ", "cyan")
    for test in event.tests:
        style = "green" if test.status is TestStatus.PASSED else "red"
        error = "" if test.error is None else f": {test.error}"
        yield styled(f"  {test.status.value}: {test.name}{error}", style)
    if event.error is not None:
        yield styled(f"  {event.error}", "red")


def _tracer(name: str) -> Tracer:
    """Return what renders traces: the tracer that made them, or where it is missing, `full`."""
    from egcfg.interfaces.tracer import Tracer
    from egcfg.plugins.hookspecs import Kind
    from egcfg.plugins.registry import create

    try:
        tracer = create(Kind.TRACER, name, {})
    except EgcfgError as error:
        said = f"the tracer {name!r} cannot be opened, so `full` shows its traces: {error}"
        click.echo(printable_line(said), err=True)
        tracer = create(Kind.TRACER, "full", {})
    assert isinstance(tracer, Tracer)
    return tracer
