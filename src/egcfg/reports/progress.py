"""How far a run is, for who only watches its folder: running, stale, left, and an ETA."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from attrs import frozen

from egcfg.reports.rows import ResultRow, RowState
from egcfg.runs.claims import ClaimState, claims_in
from egcfg.runs.store import CLAIMS_NAME, PLANS_NAME, parse_unit_name

__all__ = ["Progress", "planned_units", "progress_of"]

RECENT_S = 3600.0
"""How far back one looks for the pace."""
SLACK_S = 60.0
"""By how much the clocks of machines may disagree."""


@frozen(kw_only=True)
class Progress:
    """How far the units of one model on one data set are.

    Attributes:
        planned: units that runs were to do; None: no run has said so.
        done: units that are done, of those planned if that is known.
        running: units that live processes work on.
        stale: units whose process is gone or silent; the next run takes them over.
        per_minute: units that ended per minute of late; None where nothing runs, or too few ended.
    """

    planned: int | None
    done: int
    running: int = 0
    stale: tuple[str, ...] = ()
    per_minute: float | None = None

    @property
    def left(self) -> int | None:
        """Units that are not done and not running."""
        return None if self.planned is None else max(0, self.planned - self.done - self.running)

    @property
    def seconds_left(self) -> float | None:
        """When all will be done, at the present pace."""
        if self.left is None or not self.per_minute:
            return None
        return 60 * (self.left + self.running) / self.per_minute


def progress_of(folder: Path, rows: Sequence[ResultRow], now: float) -> Progress:
    """Return how far the runs on a folder are.

    Args:
        folder: that of one model on one data set.
        rows: its results.
        now: the present time, in seconds since 1970.
    """
    over = {
        (r.config, r.gamma, r.task_id) for r in rows if r.state in (RowState.DONE, RowState.SKIPPED)
    }
    planned = planned_units(folder)
    running, stale = 0, []
    for claims in sorted(folder.glob(f"*/{CLAIMS_NAME}")):
        for name, state in sorted(claims_in(claims, now).items()):
            task_id, gamma = parse_unit_name(f"{name}.json")
            if (claims.parent.name, gamma, task_id) in over:
                continue  # done a moment ago
            running += state is ClaimState.RUNNING
            if state is ClaimState.STALE:
                stale.append(f"{claims.parent.name}/{name}")
    return Progress(
        planned=None if planned is None else len(planned),
        done=len(over if planned is None else over & planned),
        running=running,
        stale=tuple(stale),
        per_minute=_pace(rows, now) if running else None,
    )


def planned_units(folder: Path) -> set[tuple[str, float | None, str]] | None:
    """Return what runs were to do on a folder; None: it has no plan that can be read.

    Args:
        folder: that of one model on one data set.

    Returns:
        Units: the configuration's folder, gamma (None where a whole method is the unit), task id.
    """
    units: set[tuple[str, float | None, str]] = set()
    found = False
    for path in (folder / PLANS_NAME).glob("*.json"):
        try:
            plan: dict[str, Any] = orjson.loads(path.read_bytes())
            rows, tasks = [(str(c), g) for c, g in plan["rows"]], list(map(str, plan["tasks"]))
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            continue  # of a later version, or removed meanwhile
        found = True
        units |= {(config, gamma, task) for config, gamma in rows for task in tasks}
    return units if found else None


def _pace(rows: Sequence[ResultRow], now: float) -> float | None:
    ends = [r.ended for r in rows if r.ended is not None and -SLACK_S < now - r.ended < RECENT_S]
    seconds = now - min(ends, default=now)
    return 60 * len(ends) / seconds if len(ends) > 1 and seconds > 0 else None
