"""Reports for other programs: plain dictionaries, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

import attrs

from egcfg.reports.aggregate import Report

__all__ = ["as_csv", "as_dict", "as_json"]


def as_dict(report: Report) -> dict[str, Any]:
    """Return a report as JSON-able values; accuracies and RSR are percentages."""
    return {
        "dataset": report.dataset,
        "model": report.model,
        "tasks": report.tasks,
        "rows": [
            {
                "config": row.config,
                "gamma": row.gamma,
                "done": row.done,
                "tasks": row.tasks,
                "solved": row.solved,
                "accuracy": row.accuracy,
                "rsr": row.rsr,
                "skipped": row.skipped,
                "unreadable": row.unreadable,
                "sandbox_errors": row.sandbox_errors,
                "unfinished": row.unfinished,
                "near_ties": row.near_ties,
                **attrs.asdict(row.cost),
            }
            for row in report.rows
        ],
        "union": {
            "oracle": "any row passed the tests",
            "solved": report.union_solved,
            "accuracy": report.union_accuracy,
            "rsr": report.union_rsr,
            **attrs.asdict(report.cost),
            "wall_seconds": report.wall_seconds,
        },
        "tests": attrs.asdict(report.tests),
        "broken": dict(report.broken),
    }


def as_json(reports: Iterable[Report]) -> str:
    """Return reports as a JSON array, in ASCII: a folder's name may hold bytes that are no text."""
    return json.dumps([as_dict(report) for report in reports], indent=2) + "\n"


def as_csv(reports: Iterable[Report]) -> str:
    """Return one line per row of each report, and one per union (its gamma is empty)."""
    lines = []
    for each in reports:
        report = as_dict(each)
        names = {name: report[name] for name in ("dataset", "model")}
        names["tests"] = each.tests.words()
        lines += [{**names, **row} for row in report["rows"]]
        union = {key: value for key, value in report["union"].items() if key != "oracle"}
        lines.append({**names, "config": "union", "tasks": report["tasks"], **union})
    out = io.StringIO()
    if lines:
        writer = csv.DictWriter(out, fieldnames=list(lines[0] | lines[-1]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return out.getvalue()
