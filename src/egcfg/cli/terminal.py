"""What may reach a terminal: text of models and programs, made harmless, and the two consoles."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from egcfg.reports.printable import printable, printable_json, printable_line

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "printable", "printable_json", "printable_line"]


def console(stream: TextIO | None = None) -> Console:
    """Return a console that takes text as it is, without markup; by default on standard error."""
    from rich.console import Console

    return Console(
        file=stream if stream is not None else sys.stderr,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=True,
    )
