"""Result files as rows of a table: what they tell in numbers, without their texts."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import attrs
from attrs import frozen

from egcfg.errors import MissingExtraError
from egcfg.runs.config_string import method_of
from egcfg.runs.folder import FolderReader, LeftOut
from egcfg.runs.results import Result, ResultStats
from egcfg.runs.store import FileState, ResultFile

if TYPE_CHECKING:
    import pandas

__all__ = ["ResultRow", "Results", "RowState", "columns_of", "load_results"]


class RowState(enum.StrEnum):
    """What a result file tells."""

    DONE = "done"
    UNFINISHED = "unfinished"  # the end of a budget cut the method short
    SKIPPED = "skipped"  # another unit had solved the task
    EMPTY = "empty"  # a reservation that a crashed tool left
    BROKEN = "broken"


@frozen(kw_only=True)
class ResultRow:
    """One unit: a task in a configuration at a gamma, or by a method.

    What a file does not tell is None. Costs are unknown where an older tool left them out.

    Attributes:
        path: the file.
        dataset: name of the folder of the data set.
        model: name of the folder of the model.
        config: name of the configuration's folder: a config string, or a method's name and options.
        method: the method; ``egcfg`` where the folder names a config string.
        gamma: guidance strength; None where a whole method is the unit.
        task_id: the task's id.
        state: what the file tells.
        passed: whether the program passes; of a skipped unit, that of the one that solved its task.
        tests: tests that decided.
        tests_passed: how many of them passed.
        tests_seen: tests that the decoder saw.
        tests_seen_scored: how many of these decided.
        sandbox_error: whether the sandbox failed on a test, which says nothing about the program.
        error: why no test could be run, or what is wrong with a broken file.
        attempts: answers of the method.
        input_tokens: prompt tokens sent or processed.
        output_tokens: tokens generated, chosen or sampled.
        cached_tokens: prompt tokens that a cache answered.
        requests: requests sent to an endpoint.
        forward_passes: passes through a local model.
        forward_tokens: tokens run through a local model.
        seconds: wall time; above a `concurrency` of 1 shared with other units.
        execution_seconds: the part of it in which candidates ran under the tracer.
        concurrency: units that the process had in flight at most.
        signals: signals made.
        signals_empty: signals that showed nothing.
        tokens_changed: tokens where guidance overruled the unconditional model.
        near_ties: choices so close that rounding might have turned them.
        started: when decoding started, in seconds since 1970.
        ended: when scoring ended, likewise.
    """

    path: str
    dataset: str
    model: str
    config: str
    method: str
    gamma: float | None
    task_id: str
    state: RowState
    passed: bool = False
    tests: int = 0
    tests_passed: int = 0
    tests_seen: int | None = None
    tests_seen_scored: int | None = None
    sandbox_error: bool = False
    error: str | None = None
    attempts: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    requests: int | None = None
    forward_passes: int | None = None
    forward_tokens: int | None = None
    seconds: float | None = None
    execution_seconds: float | None = None
    concurrency: int = 1
    signals: int | None = None
    signals_empty: int | None = None
    tokens_changed: int | None = None
    near_ties: int | None = None
    started: float | None = None
    ended: float | None = None

    @property
    def judged(self) -> bool:
        """Whether there is a verdict of this very unit."""
        return self.state in (RowState.DONE, RowState.UNFINISHED)

    @property
    def solves(self) -> bool:
        """Whether its task is solved, by this unit or by the one for which it was skipped."""
        return self.passed and (self.judged or self.state is RowState.SKIPPED)

    @classmethod
    def of(cls, record: ResultFile) -> ResultRow:
        """Return the row of a result file."""
        config, result = record.config, record.result
        names = {
            "path": str(record.path),
            "dataset": record.dataset,
            "model": record.model,
            "config": config,
            "method": method_of(config) or "egcfg",
            "gamma": record.gamma,
            "task_id": record.task_id,
        }
        if result is None:
            broken = record.state is FileState.BROKEN
            state = RowState.BROKEN if broken else RowState.EMPTY
            return cls(**names, state=state, error=record.problem)  # type: ignore[arg-type]
        state = RowState.UNFINISHED if result.unfinished else RowState.DONE
        if result.global_cached:
            return cls(**names, state=RowState.SKIPPED, passed=result.passed)  # type: ignore[arg-type]
        return cls(
            **names,  # type: ignore[arg-type]
            state=state,
            **_verdict(result),
            **({} if result.stats is None else _cost(result.stats)),
        )


def _verdict(result: Result) -> dict[str, Any]:
    tests, seen = result.tests, result.tests_seen
    return {
        "passed": result.passed,
        "tests": len(tests),
        "tests_passed": sum(test.passed for test in tests.values()),
        "tests_seen": None if seen is None else len(set(seen)),
        "tests_seen_scored": None if seen is None else sum(name in tests for name in set(seen)),
        "sandbox_error": result.has_sandbox_error,
        "error": result.general_error,
        "attempts": len(result.attempts),
    }


def _cost(stats: ResultStats) -> dict[str, Any]:
    usage = stats.usage.values()
    # An older tool counts tokens in all, and none by stage.
    counted = bool(usage) or not (stats.input_tokens or stats.output_tokens)
    by_stage = {
        name: sum(getattr(each, name) for each in usage) if counted else None
        for name in ("cached_tokens", "requests", "forward_passes", "forward_tokens")
    }
    return {
        **by_stage,
        "input_tokens": stats.input_tokens,
        "output_tokens": stats.output_tokens,
        "seconds": stats.seconds,
        "execution_seconds": stats.execution_seconds,
        "concurrency": stats.concurrency,
        "signals": stats.signals,
        "signals_empty": stats.signals_empty,
        "tokens_changed": stats.tokens_changed,
        "near_ties": stats.near_ties,
        "started": _timestamp(stats.start_time),
        "ended": _timestamp(stats.end_time),
    }


def _timestamp(text: str | None) -> float | None:
    try:
        return None if text is None else datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


@frozen
class Results(Sequence[ResultRow]):
    """The rows of a results folder, in the order of their files.

    Attributes:
        rows: one per unit.
        left_out: files that look like results and are none.
    """

    rows: Sequence[ResultRow]
    left_out: Sequence[LeftOut] = ()

    @overload
    def __getitem__(self, place: int) -> ResultRow: ...

    @overload
    def __getitem__(self, place: slice) -> Results: ...

    def __getitem__(self, place: int | slice) -> ResultRow | Results:
        if isinstance(place, slice):
            return Results(self.rows[place], self.left_out)
        return self.rows[place]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ResultRow]:
        return iter(self.rows)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame with a column per attribute; what is unknown is missing (NA).

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingExtraError(
                "a data frame needs pandas, which is not installed: pip install 'egcfg[tables]'"
            ) from error
        return pandas.DataFrame(columns_of(self.rows)).convert_dtypes()


def load_results(folder: str | os.PathLike[str]) -> Results:
    """Return every result below a folder: a whole results folder or any part of one.

    Args:
        folder: the folder.

    Raises:
        RunError: it does not exist, or holds no result file.
    """
    found = FolderReader(Path(folder), ResultRow.of).look()
    return Results(found.kept, found.left_out)


def columns_of(rows: Iterable[ResultRow]) -> Mapping[str, list[Any]]:
    """Return rows as columns by name."""
    rows = list(rows)
    names = [field.name for field in attrs.fields(ResultRow)]
    return {name: [getattr(row, name) for row in rows] for name in names}
