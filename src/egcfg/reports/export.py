"""Reports and rows for other programs: plain dictionaries, JSON, CSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from egcfg.errors import MissingExtraError, RunError
from egcfg.reports.aggregate import Report, Row, Union
from egcfg.reports.progress import Progress
from egcfg.reports.rows import ResultRow, columns_of
from egcfg.reports.selection import Grouping
from egcfg.runs.folder import LeftOut

__all__ = ["as_csv", "as_dict", "as_json", "groups_as_dicts", "rows_as_dicts", "write_parquet"]


def as_dict(report: Report, shown: Sequence[Row] | None = None) -> dict[str, Any]:
    """Return a report as JSON-able values; accuracies and RSR are percentages, unknown is null.

    Args:
        report: the numbers.
        shown: the rows; None: all of them.
    """
    return {
        "dataset": report.dataset,
        "model": report.model,
        "tasks": len(report.tasks),
        "rows": [
            {
                "config": row.config,
                "gamma": row.gamma,
                "method": row.method,
                "done": row.done,
                "tasks": row.tasks,
                "solved": row.solved,
                "accuracy": row.accuracy,
                "rsr": row.rsr,
                "skipped": len(row.skipped),
                "unreadable": row.unreadable,
                "sandbox_errors": row.sandbox_errors,
                "unfinished": row.unfinished,
                "near_ties": row.near_ties,
                **_cost(row),
            }
            for row in (report.rows if shown is None else shown)
        ],
        "union": {
            "oracle": "any row passed the tests",
            "solved": report.union.solved,
            "accuracy": report.union.share,
            "rsr": report.union_rsr,
            **_cost(report.union),
            "wall_seconds": report.wall_seconds,
        },
        "tests": attrs.asdict(report.tests),
        "broken": dict(report.broken),
    }


def groups_as_dicts(grouping: Grouping, shown: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the groups of a table as JSON-able values, one per line of it."""
    return [
        {
            "dataset": grouping.dataset,
            "model": grouping.model or group.name,
            "by": str(grouping.by),
            "name": group.name,
            "rows": len(group.union.rows),
            "best_accuracy": None if group.union.best is None else group.union.best.accuracy,
            "best_config": None if group.union.best is None else group.union.best.config,
            "best_gamma": None if group.union.best is None else group.union.best.gamma,
            "tasks": group.union.tasks,
            "tried": group.union.tried,
            "any_solved": group.union.solved,
            "any_accuracy": group.union.share,
            **_cost(group.union),
        }
        for group in shown
    ]


def progress_as_dict(progress: Progress) -> dict[str, Any]:
    """Return how far runs are as JSON-able values."""
    return {
        **attrs.asdict(progress),
        "left": progress.left,
        "seconds_left": progress.seconds_left,
    }


def rows_as_dicts(rows: Iterable[ResultRow]) -> list[dict[str, Any]]:
    """Return rows, one per unit, as JSON-able values."""
    columns = columns_of(rows)
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def as_json(value: Any) -> str:
    """Return JSON-able values in ASCII: a folder's name may hold bytes that are no text."""
    return json.dumps(value, indent=2) + "\n"


def as_csv(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return one line per mapping, below the names of all keys."""
    out = io.StringIO()
    if lines:
        names = list(dict.fromkeys(name for line in lines for name in line))
        writer = csv.DictWriter(out, fieldnames=names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return out.getvalue()


def report_lines(report: Report, shown: Sequence[Row] | None = None) -> list[dict[str, Any]]:
    """Return what a CSV file has of a report: a line per row, and one per union (without gamma)."""
    content = as_dict(report, shown)
    names = {name: content[name] for name in ("dataset", "model")}
    names["tests"] = report.tests.words()
    union = {key: value for key, value in content["union"].items() if key != "oracle"}
    last = {**names, "config": "union", "tasks": content["tasks"], **union}
    lines = [{**names, **row, "wall_seconds": None} for row in content["rows"]]
    return [*lines, {**dict.fromkeys(lines[0] if lines else last), **last}]


def write_parquet(rows: Iterable[ResultRow], path: Path) -> None:
    """Write rows, one per unit, into a Parquet file.

    Raises:
        MissingExtraError: pyarrow is not installed.
        RunError: the file cannot be written.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Parquet needs pyarrow, which is not installed: pip install 'egcfg[tables]'"
        ) from error
    columns = {
        name: [str(v) if isinstance(v, str) else v for v in values]
        for name, values in columns_of(rows).items()
    }
    try:
        parquet.write_table(pyarrow.table(columns), path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}; choose another -o") from error


def left_out_as_dicts(left_out: Iterable[LeftOut]) -> list[dict[str, str]]:
    """Return the files that were left out, with the reasons."""
    return [attrs.asdict(each) for each in left_out]


def _cost(of: Row | Union) -> dict[str, Any]:
    return {("unknown_costs" if n == "unknown" else n): v for n, v in attrs.asdict(of.cost).items()}
