"""When to try for more again after memory ran out."""

from __future__ import annotations

from attrs import define

__all__ = ["Backoff"]

PASSES = 64
"""Passes that must succeed before the first attempt."""


@define
class Backoff:
    """Counts passes until the next attempt at a size that was too large.

    Whoever took the memory may have given it back; if not, an attempt costs a pass that fails, and
    the next one waits for twice as many.
    """

    _needed: int = 0
    _succeeded: int = 0
    _tried: bool = False

    def failed(self) -> None:
        """Memory ran out."""
        self._needed = 2 * self._needed if self._tried else self._needed or PASSES
        self._succeeded, self._tried = 0, False

    def succeeded(self) -> bool:
        """A pass had memory enough; return whether to try for more now."""
        self._succeeded += 1
        if self._succeeded < self._needed:
            return False
        self._succeeded, self._tried = 0, True
        return True
