"""What a table of verdicts tells beyond its shares: expected unions, gains and losses."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from egcfg.reports.aggregate import Row
from egcfg.reports.pass_at_k import mean_pass_at_k

__all__ = ["Comparison", "compare", "expected_unions"]


@frozen
class Comparison:
    """Two rows, task by task.

    Attributes:
        gained: tasks that the row solved and the other did not.
        lost: tasks that the other solved and the row did not.
        common: how many tasks both have.
    """

    gained: tuple[str, ...]
    lost: tuple[str, ...]
    common: int


def compare(row: Row, base: Row) -> Comparison:
    """Return what a row gained and lost against another, on the tasks that both have."""
    common = [task for task in row.verdicts if task in base.verdicts]
    return Comparison(
        gained=tuple(t for t in common if row.verdicts[t] and not base.verdicts[t]),
        lost=tuple(t for t in common if base.verdicts[t] and not row.verdicts[t]),
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
