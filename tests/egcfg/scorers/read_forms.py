"""Reads a file of forms: ``=== name`` begins one, ``--- part`` a text of it; a head comes first."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

__all__ = ["read_forms"]


def read_forms(path: Path) -> dict[str, dict[str, list[str]]]:
    """Return the texts of each form by their part, by the form's name."""
    forms: dict[str, dict[str, list[str]]] = {}
    _, *blocks = path.read_text(encoding="utf-8").split("\n=== ")
    for block in blocks:
        name, *texts = block.rstrip("\n").split("\n--- ")
        assert name not in forms, name
        forms[name] = defaultdict(list)
        for text in texts:
            part, _, content = text.partition("\n")
            forms[name][part].append(content)
    return forms
