"""Compares a program's output with the expected one, by a problem's rule (`Comparison`).

Works on text alone, and never runs any of it.
"""

from __future__ import annotations

import math
import re
from itertools import zip_longest

from egcfg.interfaces.problem import Comparison, IgnoredWhitespace

__all__ = ["first_difference"]

BLANKS = " \t\v\f\r"
_BLANKS = re.compile(f"([{BLANKS}]+)")
_TOKEN = re.compile(f"[^{BLANKS}\n]+")
# In time that grows with the length, whatever a program prints.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
SHOWN = 80


def first_difference(printed: str, expected: str, rule: Comparison) -> str | None:
    """Return in one line where two outputs differ, or None where they count as the same.

    Args:
        printed: by the program; untrusted.
        expected: the test's.
        rule: what makes no difference.
    """
    if printed == expected:
        return None
    unit = "token" if rule.ignore_whitespace is IgnoredWhitespace.ALL else "line"
    found = _units(printed, rule.ignore_whitespace)
    wanted = _units(expected, rule.ignore_whitespace)
    for number, (ours, theirs) in enumerate(zip_longest(found, wanted), start=1):
        if ours is None or theirs is None:
            return f"it printed {len(found)} {unit}s, not {len(wanted)}"
        if not _same(ours, theirs, rule):
            return f"{unit} {number} is {ours[:SHOWN]!r}, not {theirs[:SHOWN]!r}"
    return None


def _units(text: str, ignored: IgnoredWhitespace) -> list[str]:
    """Return the lines or tokens of a text, without the whitespace that is ignored."""
    if ignored is IgnoredWhitespace.ALL:
        return _TOKEN.findall(text)
    lines = text.replace("\r\n", "\n").split("\n")
    if ignored is IgnoredWhitespace.NONE:
        return lines
    if ignored is IgnoredWhitespace.INLINE:
        lines = [" ".join(_TOKEN.findall(line)) for line in lines]
    else:
        lines = [line.rstrip(BLANKS) for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _same(ours: str, theirs: str, rule: Comparison) -> bool:
    if rule.ignore_case:
        ours, theirs = ours.casefold(), theirs.casefold()
    if ours == theirs:
        return True
    if not (rule.absolute_tolerance or rule.relative_tolerance):
        return False
    # Tokens and the whitespace between them, in turn.
    found, wanted = _BLANKS.split(ours), _BLANKS.split(theirs)
    return len(found) == len(wanted) and all(
        piece == other or _close(piece, other, rule)
        for piece, other in zip(found, wanted, strict=True)
    )


def _close(ours: str, theirs: str, rule: Comparison) -> bool:
    if not (_NUMBER.fullmatch(ours) and _NUMBER.fullmatch(theirs)):
        return False
    number, wanted = float(ours), float(theirs)
    # Beyond the range of a float any difference would be within a tolerance that is a share of it.
    if not (math.isfinite(number) and math.isfinite(wanted)):
        return False
    tolerance = max(rule.absolute_tolerance, rule.relative_tolerance * abs(wanted))
    return abs(number - wanted) <= tolerance
