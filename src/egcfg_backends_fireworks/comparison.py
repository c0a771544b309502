"""Compares the rows of two answers: what a probe measures by."""

from __future__ import annotations

import math
from collections.abc import Sequence

from egcfg_backends_fireworks.responses import Row

__all__ = ["alike", "close", "echoes"]

TOLERANCE, SHARE = 0.25, 0.05
"""Nats, and share of its value, by which two evaluations of the same token may differ: batching
changes rounding."""


def echoes(rows: Sequence[Row], known: Sequence[Row]) -> bool:
    """Whether rows are those of the two known tokens, as a prompt's end, and of one new token."""
    return (
        len(rows) == 3
        and alike(rows[:2], known)
        and all(close(row.logprob, other.logprob) for row, other in zip(rows, known, strict=False))
    )


def alike(rows: Sequence[Row], known: Sequence[Row]) -> bool:
    """Whether rows tell the same distributions as the known ones, up to rounding."""
    return 0 < len(rows) == len(known) and all(map(_same, rows, known))


def _same(row: Row, known: Row) -> bool:
    # The generated token may be listed beside the likeliest ones, and rounding may bring
    # another one in at the end; but none may be missing, as after a cut to a nucleus.
    values = dict(row.alternatives)
    shared = [(values[p], logprob) for p, logprob in known.alternatives if p in values]
    return (
        0 < len(known.alternatives) <= len(values)
        and row.alternatives[0][0] == known.alternatives[0][0]
        and 2 * len(shared) >= len(known.alternatives)
        and all(close(value, logprob) for value, logprob in shared)
    )


def close(value: float | None, expected: float | None) -> bool:
    """Whether two values may be of the same token; never where one is missing."""
    return (
        value is not None
        and expected is not None
        and math.isclose(value, expected, rel_tol=SHARE, abs_tol=TOLERANCE)
    )
