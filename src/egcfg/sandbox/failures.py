"""How many programs in a row the sandbox may fail on before nothing more is run."""

from __future__ import annotations

from egcfg.errors import SandboxError

__all__ = ["FAILURES_IN_A_ROW", "Failures"]

FAILURES_IN_A_ROW = 5
"""One program that the sandbox fails on is a result, for the sake of all others. Where it fails on
so many in a row, it is the sandbox, and results would only say so again and again."""


class Failures:
    """Counts them, for one run or one file of samples."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def note(self, program: str, cause: str | None) -> None:
        """Note that a program was judged.

        Args:
            program: its name, for the message.
            cause: why the sandbox failed on it; None where it did not.

        Raises:
            SandboxError: it has failed on too many in a row.
        """
        self._in_a_row = 0 if cause is None else self._in_a_row + 1
        if self._in_a_row >= FAILURES_IN_A_ROW:
            raise SandboxError(
                f"the sandbox failed on {self._in_a_row} programs in a row, last on {program}: "
                f"{cause}; see `egcfg doctor`, then run again"
            )
