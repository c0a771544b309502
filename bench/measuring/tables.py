"""Prints tables, and writes the same figures as JSON."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["Report", "common_length", "spread"]

WIDTH = 160
"""Columns where the output is no terminal."""


class Report:
    """What one command found.

    Args:
        title: the command.
        facts: what the figures depend on: machine, model, settings.
        path: where they are written as JSON, after each table; None: nowhere.
    """

    def __init__(self, title: str, facts: Mapping[str, Any], path: Path | None = None) -> None:
        self._path = path
        self._console = Console(width=None if Console().is_terminal else WIDTH, highlight=False)
        self._found: dict[str, Any] = {"title": title, "facts": dict(facts), "tables": {}}
        self._console.print(f"[bold]{title}[/bold]")
        for name, value in facts.items():
            self._console.print(f"  {name}: {value}", markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print one table and keep its figures."""
        table = Table(title=title, title_justify="left", title_style="bold")
        for number, column in enumerate(columns):
            table.add_column(column, justify="right" if number else "left")
        for row in rows:
            table.add_row(*(_shown(cell) for cell in row))
        self._console.print()
        self._console.print(table)
        self._found["tables"][title] = [dict(zip(columns, row, strict=True)) for row in rows]
        self._write()

    def say(self, text: str) -> None:
        """Print a line and keep it."""
        self._console.print(text, markup=False)
        self._found.setdefault("notes", []).append(text)
        self._write()

    def progress(self, text: str) -> None:
        """Tell on stderr how far the work has come."""
        print(f"  ... {text}", file=sys.stderr, flush=True)

    def _write(self) -> None:
        if self._path is not None:
            self._path.write_text(json.dumps(self._found, indent=2, default=str) + "\n")


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, and the least and the largest value."""
    return statistics.median(values), min(values), max(values)


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the length of what two sequences of token ids begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _shown(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)
