"""What a table of verdicts tells beyond its shares: expected unions, gains and losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from egcfg.reports.aggregate import Row
from egcfg.reports.pass_at_k import mean_pass_at_k

__all__ = ["Changes", "changes", "expected_unions"]


@frozen
class Changes:
    """What differs between two sets of verdicts.

    Attributes:
        gained: tasks that only the first one solves.
        lost: tasks that only the other one solves.
        common: how many tasks both have.
    """

    gained: tuple[str, ...]
    lost: tuple[str, ...]
    common: int


def changes(verdicts: Mapping[str, float], base: Mapping[str, float]) -> Changes:
    """Return what was gained and lost against `base`, on the tasks that both have."""
    common = [task for task in verdicts if task in base]
    return Changes(
        gained=tuple(task for task in common if verdicts[task] > base[task]),
        lost=tuple(task for task in common if verdicts[task] < base[task]),
        common=len(common),
    )


def expected_unions(rows: Sequence[Row]) -> tuple[int, list[float]]:
    """Return the union of the first 1, 2, ... of the rows, as expected over their orderings.

    A union of given rows depends on their order; this is its mean over all of them, which is what
    pass@k is for samples (Chen et al. 2021, section 2.1), with rows in their place.

    Args:
        rows: rows that were tried on all that they are about: none with skipped tasks.

    Returns:
        How many tasks all rows have, and the union's share of them, from 0 to 1, by the number of
        rows; empty where no task is common to all.
    """
    common = [t for t in (rows[0].verdicts if rows else ()) if all(t in r.verdicts for r in rows)]
    counts = [(len(rows), sum(row.verdicts[task] for row in rows)) for task in common]
    if not counts:
        return 0, []
    return len(common), [mean_pass_at_k(counts, k) for k in range(1, len(rows) + 1)]
