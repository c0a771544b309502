"""Exit statuses of the program; `egcfg.cli` has the table."""

from __future__ import annotations

__all__ = [
    "ENDED_EARLY",
    "FAILED",
    "INTERRUPTED",
    "NOT_SOLVED",
    "TERMINATED",
    "WRONG_USAGE",
    "Interrupted",
]

FAILED = NOT_SOLVED = 1
WRONG_USAGE = 2
ENDED_EARLY = 3
INTERRUPTED = 128 + 2
TERMINATED = 128 + 15


class Interrupted(Exception):  # noqa: N818 - not an error
    """Ctrl-C in the middle of work; the message says how to go on."""
