"""Reads records back: their lines, and the steps that they tell of."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import orjson
from attrs import evolve, field, frozen

from egcfg.errors import RunError
from egcfg.interfaces.solution import LineStep, Signal, SignalEntry
from egcfg.interfaces.tracer import Trace
from egcfg.records.entries import (
    FORMAT,
    AttemptEntry,
    CallEntry,
    DecodingEntry,
    EndEntry,
    Entry,
    GenerationEntry,
    ProgramEntry,
    PromptEntry,
    RunEntry,
    SignalEntries,
    StepEntry,
    UnitEntry,
    VerdictEntry,
    from_json,
)
from egcfg.runs.files import gzip_lines
from egcfg.runs.result_file import MalformedResultError, load_result
from egcfg.runs.results import Result
from egcfg.runs.store import SUFFIX_OF_RECORDS

__all__ = [
    "MalformedRecordError",
    "UnitRecord",
    "load_record",
    "read_record_of",
    "record_beside",
]

T = TypeVar("T")


class MalformedRecordError(RunError):
    """The content of a record cannot be understood; the message says where."""


@frozen(kw_only=True)
class UnitRecord:
    """A record, read.

    Attributes:
        unit: which unit it is of.
        entries: all other lines, in their order.
    """

    unit: UnitEntry
    entries: tuple[Entry, ...] = field(repr=False)

    def of_kind(self, kind: type[T]) -> tuple[T, ...]:
        """Return the lines of one kind."""
        return tuple(entry for entry in self.entries if isinstance(entry, kind))

    @cached_property
    def prompts(self) -> tuple[PromptEntry, ...]:
        """The prompts, by their numbers."""
        return self.of_kind(PromptEntry)

    @cached_property
    def decodings(self) -> tuple[DecodingEntry, ...]:
        """The decodings, by their numbers."""
        return self.of_kind(DecodingEntry)

    @cached_property
    def programs(self) -> tuple[ProgramEntry, ...]:
        """The programs, by their numbers."""
        return self.of_kind(ProgramEntry)

    @cached_property
    def signals(self) -> tuple[SignalEntries, ...]:
        """The signals, by their numbers."""
        return self.of_kind(SignalEntries)

    @property
    def answer(self) -> str:
        """The program that the method answered with; empty: none."""
        attempts = self.of_kind(AttemptEntry)
        return attempts[-1].program if attempts else ""

    @property
    def verdicts(self) -> VerdictEntry:
        """The verdicts on the answer; none where nobody judged it."""
        answer = self.answer
        found = [each for each in self.of_kind(VerdictEntry) if each.program == answer]
        return found[-1] if found else VerdictEntry(program=answer)

    @property
    def dropped(self) -> int:
        """Lines that were left out because the record had reached its largest size."""
        return sum(entry.dropped for entry in self.of_kind(EndEntry))

    def steps(self) -> Iterator[tuple[StepEntry, LineStep]]:
        """Yield each line of each decoding, as it was written and as it was decided."""
        signals: list[Signal] = []
        for each in self.signals:
            signals.append(self._signal(each, signals))
        for entry in self.of_kind(StepEntry):
            yield (
                entry,
                LineStep(
                    index=entry.index,
                    in_code=entry.in_code,
                    text=entry.text,
                    tokens=entry.tokens,
                    signal=None if entry.signal is None else signals[entry.signal],
                    fresh=entry.fresh,
                    usage=entry.usage,
                    execution_seconds=entry.execution_seconds,
                    decisions=entry.decisions,
                    taken_back=entry.taken_back,
                ),
            )

    @cached_property
    def traces(self) -> tuple[tuple[Trace, ...], ...]:
        """The traces of each program, by its number."""
        return tuple(
            tuple(evolve(trace, source=entry.source) for trace in entry.traces)
            for entry in self.programs
        )

    def _signal(self, signal: SignalEntries, before: Sequence[Signal]) -> Signal:
        return Signal(
            entries=tuple(
                SignalEntry(
                    program=self.programs[each.program].source,
                    samples=each.samples,
                    traces=self.traces[each.program],
                    shown=each.shown,
                    share=each.share,
                    marks=each.marks,
                )
                for each in signal.entries
            ),
            text=signal.text,
            tokens=signal.tokens,
            cut=signal.cut,
            away=signal.away,
            against=None if signal.against is None else before[signal.against],
            decisions=signal.decisions,
        )


def load_record(data: bytes) -> UnitRecord:
    """Read the content of a record's file.

    Raises:
        MalformedRecordError: it is no record, not whole, or names what it does not hold.
    """
    entries: list[Entry] = []
    try:
        for number, line in enumerate(gzip_lines(io.BytesIO(data)), start=1):
            try:
                entry = from_json(_parse(line))
            except ValueError as error:
                raise MalformedRecordError(f"line {number}: {error}") from error
            if number == 1:
                _check_beginning(entry)
            if entry is not None:
                entries.append(entry)
    except OSError as error:
        raise MalformedRecordError(str(error)) from error
    if not entries:
        raise MalformedRecordError("it is empty")
    unit, *others = entries
    assert isinstance(unit, UnitEntry)  # seen above
    if not others or not isinstance(others[-1], EndEntry):
        raise MalformedRecordError("it has no end")
    _check_numbers(others)
    return UnitRecord(unit=unit, entries=tuple(others))


def read_record_of(path: Path) -> UnitRecord:
    """Read a record, given its file or the result file that it is kept beside.

    Raises:
        MalformedRecordError: the record cannot be understood.
        RunError: a file cannot be read, or the result has no record.
    """
    if path.name.endswith(SUFFIX_OF_RECORDS):
        return _read(path)
    try:
        data = path.read_bytes()
        result = load_result(data) if data.strip() else Result()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; check the path") from error
    except MalformedResultError as error:
        raise RunError(
            f"{path} is neither a record nor a result file: {error}; give task_id=....json, or "
            f"the file ....{SUFFIX_OF_RECORDS} beside it"
        ) from error
    found = record_beside(path, result)
    if found is None and result.record is not None:
        raise RunError(
            f"the record of {path} is missing: it was {result.record}, in the same folder; delete "
            "the result to make both anew"
        )
    if found is None:
        raise RunError(
            f"{path} has no record of how it came about: egcfg run --record writes one for each "
            "new result"
        )
    return _read(found)


def record_beside(path: Path, result: Result) -> Path | None:
    """Return the record that a result names, if it is a file in the result's own folder."""
    name = result.record
    if name is None or Path(name).name != name or not name.endswith(SUFFIX_OF_RECORDS):
        return None
    found = path.with_name(name)
    # A link might lead anywhere.
    return found if found.is_file() and not found.is_symlink() else None


def _read(path: Path) -> UnitRecord:
    try:
        return load_record(path.read_bytes())
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; check the path") from error
    except MalformedRecordError as error:
        raise MalformedRecordError(
            f"{path} is no whole record: {error}; delete it and its result to make both anew"
        ) from error


def _parse(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            return json.loads(line)  # takes lone surrogates
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def _check_beginning(entry: Entry | None) -> None:
    if not isinstance(entry, UnitEntry):
        raise MalformedRecordError("line 1: not the beginning of a record")
    if entry.format != FORMAT:
        raise MalformedRecordError(
            f"its form is {entry.format!r}, not {FORMAT!r}: another version of egcfg wrote it"
        )


def _check_numbers(entries: Sequence[Entry]) -> None:
    """See that each number names a line before it."""
    counts: Counter[type[Any]] = Counter()
    for entry in entries:
        named: list[tuple[type[Any], int | None]] = []
        match entry:
            case DecodingEntry(prompt=number) | CallEntry(prompt=number):
                named = [(PromptEntry, number)]
            case SignalEntries(entries=shown, against=against):
                named = [(ProgramEntry, each.program) for each in shown]
                named.append((SignalEntries, against))
            case RunEntry(program=number):
                named = [(ProgramEntry, number)]
            case StepEntry(decoding=decoding, signal=signal):
                named = [(DecodingEntry, decoding), (SignalEntries, signal)]
            case GenerationEntry(decoding=decoding) | AttemptEntry(decoding=decoding):
                named = [(DecodingEntry, decoding)]
        for kind, place in named:
            if place is not None and not 0 <= place < counts[kind]:
                raise MalformedRecordError(f"it names the {kind.__name__} {place}, and has none")
        counts[type(entry)] += 1
