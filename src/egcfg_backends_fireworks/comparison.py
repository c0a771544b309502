"""Compares the rows of two answers: what a probe measures by."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence

from egcfg_backends_fireworks.responses import Row

__all__ = ["Echo", "alike", "close", "echo_kind"]

TOLERANCE, SHARE = 0.25, 0.05
"""Nats, and share of its value, by which two evaluations of the same token may differ: batching
changes rounding."""


class Echo(enum.StrEnum):
    """What a server makes of ``echo``, which asks for the prompt's own log-probabilities."""

    RIGHT = "right"
    SHIFTED = "shifted by one"
    WRONG = "wrong"
    IGNORED = "ignored"
    REFUSED = "refused"


def echo_kind(rows: Sequence[Row], known: Sequence[Row], last: int) -> Echo:
    """Tell what the rows are of an echoed prompt that ends in two known tokens.

    Args:
        rows: the answer's.
        known: those of the two tokens, as they were when the tokens were generated.
        last: how many tokens were to be echoed; 0: all.
    """
    if len(rows) <= 2 or (last and len(rows) > last + 1):
        return Echo.IGNORED
    # One new token was asked for, whose row is the last; before it come those of the known ones.
    echoed = rows[-3:-1]
    if alike(echoed, known) and all(
        close(row.logprob, other.logprob) for row, other in zip(echoed, known, strict=True)
    ):
        return Echo.RIGHT
    if any(alike([row], known[:1]) for row in (*rows[-4:-3], rows[-2])):
        return Echo.SHIFTED
    return Echo.WRONG


def alike(rows: Sequence[Row], known: Sequence[Row]) -> bool:
    """Whether rows tell the same distributions as the known ones, up to rounding."""
    return len(rows) == len(known) and all(map(_same, rows, known))


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
