"""Text of models and programs, made harmless for whatever shows it."""

from __future__ import annotations

import unicodedata

__all__ = ["printable", "printable_json", "printable_line"]

# Control characters drive the terminal, format characters reorder or hide text, and surrogates and
# line separators break the output. Newline and tab are what text is made of.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def printable(text: str) -> str:
    """Return `text` with everything escaped that could drive a terminal; lines are kept."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(
        char
        if char in "\n\t" or unicodedata.category(char) not in _UNSAFE_CATEGORIES
        else char.encode("unicode_escape", "backslashreplace").decode("ascii")
        for char in text
    )


def printable_line(text: str) -> str:
    """Return `text` as one harmless line."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def printable_json(text: str) -> str:
    """Return a JSON document that holds the same values and nothing that could drive a terminal.

    Such characters are inside of strings only, so JSON's own escapes can take their place.
    """
    return "".join(
        char
        if char in "\n\t" or unicodedata.category(char) not in _UNSAFE_CATEGORIES
        else _json_escape(char)
        for char in text
    )


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
