"""Blocks of text within a budget of characters: whole ones are left out from the middle."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

__all__ = ["Block", "fit", "whole"]

_HEAD_SHARE = 0.35


@frozen
class Block:
    """A piece of text, of one line or more.

    Attributes:
        text: the whole of it.
        pinned: whether it is always shown.
        known_as: what it tells besides its own; "": nothing that another block tells.
        short: what is enough where an earlier block `known_as` the same is shown.
    """

    text: str
    pinned: bool = False
    known_as: str = ""
    short: str = ""


def fit(blocks: Sequence[Block], max_chars: int, unit: str = "lines") -> str:
    """Join blocks, one a line, into at most `max_chars` characters, by whole ones if possible.

    What is left out lies between the first 35 % and the last 65 % of the text. `unit` is what the
    text calls the blocks that it leaves out.
    """
    text = whole(blocks)
    if len(text) <= max_chars:
        return text
    pinned = [block for block in blocks if block.pinned]
    # Each pinned block may have a gap before it, and there may be one at the end.
    notes = (len(pinned) + 1) * (len(f"... {len(blocks)} {unit} left out") + 1)
    room = max_chars - sum(len(block.text) + 1 for block in pinned) - notes
    while room >= 0:
        text = _joined(blocks, _choose(blocks, room), unit)
        if len(text) <= max_chars:
            return text
        # A block whose short form was reckoned with needs its whole text, as the other is gone.
        room -= len(text) - max_chars
    return _squeeze([block.text for block in pinned], max_chars)


def whole(blocks: Sequence[Block]) -> str:
    """Join blocks, one a line, with none left out."""
    return "\n".join(_forms(blocks, [True] * len(blocks)))


def _forms(blocks: Sequence[Block], shown: Sequence[bool]) -> list[str]:
    """Return each block's text, short where what came before allows it."""
    known = set()
    forms = []
    for block, is_shown in zip(blocks, shown, strict=True):
        forms.append(block.short if block.known_as in known else block.text)
        if is_shown and block.known_as:
            known.add(block.known_as)
    return forms


def _joined(blocks: Sequence[Block], shown: Sequence[bool], unit: str) -> str:
    parts: list[str] = []
    skipped = 0
    for form, is_shown in zip(_forms(blocks, shown), shown, strict=True):
        if not is_shown:
            skipped += 1
            continue
        if skipped:
            parts.append(f"... {skipped} {unit} left out")
            skipped = 0
        parts.append(form)
    if skipped:
        parts.append(f"... {skipped} {unit} left out")
    return "\n".join(parts)


def _choose(blocks: Sequence[Block], room: int) -> list[bool]:
    """Return which blocks to show: the pinned ones, then from both ends while there is room."""
    shown = [block.pinned for block in blocks]
    lengths = [len(form) + 1 for form in _forms(blocks, [True] * len(blocks))]
    head = int(room * _HEAD_SHARE)
    spent = 0
    for position, length in enumerate(lengths):
        if not shown[position]:
            if spent + length > head:
                break
            spent += length
            shown[position] = True
    for position in range(len(blocks) - 1, -1, -1):
        if not shown[position]:
            if spent + lengths[position] > room:
                break
            spent += lengths[position]
            shown[position] = True
    return shown


def _squeeze(lines: Sequence[str], max_chars: int) -> str:
    """Cut within lines that must all be shown; the shorter ones stay whole where that is enough."""
    lengths = [len(line) for line in lines]
    width = max(lengths, default=0)
    while width > 8 and sum(min(length, width) + 1 for length in lengths) - 1 > max_chars:
        width -= 1
    return _shorten("\n".join(_shorten(line, width) for line in lines), max_chars)


def _shorten(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    return f"{text[: width - 3]}..." if width > 3 else text[: max(width, 0)]
