"""A comparison for other programs: JSON and CSV."""

from __future__ import annotations

import json
from typing import Any

import attrs

from egcfg.comparison.arms import COUNTS
from egcfg.comparison.comparison import Comparison, Row, Share, curve
from egcfg.reports import export

__all__ = ["as_csv", "as_json"]


def as_json(comparison: Comparison) -> str:
    """Return the comparison as one JSON object, in ASCII; shares and intervals are from 0 to 1.

    A ``curve`` has pairs of a cost and the number of tasks solved from there on.
    """
    content = {
        "axis": comparison.axis.value,
        "budgets": list(comparison.budgets),
        "tasks": list(comparison.tasks),
        "union": list(comparison.union),
        "oracle": list(comparison.reachable),
        "arms": [
            {
                **_named(row),
                "provenance": dict(row.arm.provenance),
                "tests": attrs.asdict(row.arm.tests),
                "solved": [None if share is None else _share(share) for share in row.shares],
                "solved_tasks": [t for t, each in row.arm.outcomes.items() if each.solved == 1],
                "curve": curve(row.arm, comparison.axis),
                "oracle": row.reachable,
                "accepted": row.accepted,
                "false_accepts": row.false_accepts,
                "sandbox_errors": row.sandbox_errors,
                "skipped": row.arm.skipped,
                "unreadable": dict(row.arm.unreadable),
                "mean": _means(row),
            }
            for row in comparison.rows
        ],
        "against": [attrs.asdict(duel) for duel in comparison.duels],
        "notes": list(comparison.notes),
    }
    return json.dumps(content, indent=2) + "\n"


def as_csv(comparison: Comparison) -> str:
    """Return one line per arm, budget (empty: none) and baseline."""
    lines: list[dict[str, Any]] = []
    for row in comparison.rows:
        for number, share in enumerate(row.shares):
            budget = [*comparison.budgets, None][number]
            line = {
                **_named(row),
                "tests": row.arm.tests.words(),
                "axis": comparison.axis.value,
                "budget": budget,
                **(dict.fromkeys(_SHARE) if share is None else _share(share)),
                "oracle": row.reachable,
                "accepted": row.accepted,
                "false_accepts": row.false_accepts,
                **{f"mean_{name}": value for name, value in _means(row).items()},
            }
            duels = [
                duel
                for duel in comparison.duels
                if (duel.label, duel.budget) == (row.arm.label, budget)
            ]
            lines += [
                {
                    **line,
                    "baseline": duel.baseline,
                    "common_tasks": duel.tasks,
                    "gained": len(duel.gained),
                    "lost": len(duel.lost),
                    "p": duel.p,
                    "difference": duel.difference,
                    "difference_low": duel.interval and duel.interval[0],
                    "difference_high": duel.interval and duel.interval[1],
                }
                for duel in duels
            ] or [line]
    return export.as_csv(lines)


_SHARE = ("budget", "solved", "tasks", "low", "high")


def _named(row: Row) -> dict[str, Any]:
    arm = row.arm
    return {
        "arm": arm.label,
        "dataset": arm.dataset,
        "model": arm.model,
        "config": arm.config,
        "gamma": arm.gamma,
        "done": row.done,
        "of": row.tasks,
    }


def _share(share: Share) -> dict[str, Any]:
    low, high = share.interval
    return dict(zip(_SHARE, (share.budget, share.solved, share.tasks, low, high), strict=True))


def _means(row: Row) -> dict[str, float | None]:
    means = {name: row.arm.mean(name) for name in COUNTS}
    return {**means, "seconds": row.arm.mean_seconds}
