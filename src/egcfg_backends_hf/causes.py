"""Other libraries' exceptions, told in one line."""

from __future__ import annotations

__all__ = ["one_line"]

LONGEST = 240


def one_line(error: BaseException) -> str:
    """Return an exception's message in one line of bounded length, without a full stop."""
    text = " ".join(str(error).split())
    if len(text) > LONGEST:
        text = text[:LONGEST].rpartition(" ")[0] + " ..."
    return text.rstrip(".:") or type(error).__name__
