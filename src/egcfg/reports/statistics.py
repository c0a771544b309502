"""What a table of verdicts tells beyond its shares: intervals, curves, unions, gains and losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from attrs import frozen

from egcfg.reports.aggregate import Row
from egcfg.reports.pass_at_k import mean_pass_at_k
from egcfg.runs.results import Result

__all__ = [
    "Comparison",
    "answers",
    "compare",
    "expected_unions",
    "solved_at_tokens",
    "wilson_interval",
]


def wilson_interval(solved: int, tried: int) -> tuple[float, float]:
    """Return the interval of a share that holds its true value with a probability of 95 %.

    The score interval of Wilson (1927), scipy's. The tasks are taken for a random sample of their
    kind.

    Args:
        solved: how many passed.
        tried: how many there were, at least one.

    Returns:
        The ends, from 0 to 1.

    Raises:
        ValueError: the counts cannot be.
    """
    # Not when the module is loaded: it takes a second.
    from scipy.stats import binomtest

    found = binomtest(solved, tried).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)


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


def answers(result: Result) -> list[tuple[int, bool]]:
    """Return when a unit's answers were given, in tokens, and whether each passed.

    Of a result without attempts, of an older tool or a broken file, the end; none of a unit that
    was skipped.
    """
    if result.global_cached:
        return []
    told = [_answer(each) for each in result.attempts]
    if told and None not in told:
        return sorted((each for each in told if each is not None), key=lambda each: each[0])
    spent = 0 if result.stats is None else result.stats.input_tokens + result.stats.output_tokens
    return [(spent, result.passed)]


def solved_at_tokens(units: Iterable[Iterable[tuple[int, bool]]]) -> list[tuple[int, int]]:
    """Return how many tasks were solved when each had cost so many tokens at most.

    A task counts as solved at a number of tokens where the method's last answer up to then passes
    the tests that decide, so that the curve may fall: an answer may be replaced by a worse one.

    Args:
        units: the `answers` of each unit of one row.

    Returns:
        Pairs of tokens and tasks solved from there on, in order of tokens; first ``(0, 0)``.
    """
    changes: Counter[int] = Counter()
    for unit in units:
        solved = False
        for tokens, passed in unit:
            if passed != solved:
                changes[tokens] += 1 if passed else -1
                solved = passed
    curve, total = [(0, 0)], 0
    for tokens in sorted(changes):
        if changes[tokens]:
            total += changes[tokens]
            curve.append((tokens, total))
    return curve


def _answer(attempt: object) -> tuple[int, bool] | None:
    """Return what a file says of an attempt; None where it is broken."""
    match attempt:
        case {"tokens": int(tokens), "passed": bool(passed)}:
            return tokens, passed
    return None
