"""A trace as short text: each executed line with only what it changed, within a budget."""

from __future__ import annotations

from collections.abc import Sequence

from egcfg.tracer import Trace
from egcfg_tracers.folding import Keep, fold, loop_spans
from egcfg_tracers.steps import Step, ending, parse, steps_of
from egcfg_tracers.values import clean

__all__ = ["fit", "render_compact"]

_HEAD_SHARE = 0.35
_MAX_LINE = 300
_KEEPS = (Keep(3, 2, 4, 3), Keep(2, 1, 3, 2), Keep(1, 1, 2, 1))


def render_compact(trace: Trace, max_chars: int, *, opcodes: bool = False) -> str:
    """Return `trace` as text of at most `max_chars` characters.

    Loops and series of calls are folded the more the less room there is; then whole lines are left
    out between the first 35 % and the last 65 %. What ran, the line that failed with its variables,
    and how it ended are always there, cut within the line if they must be.
    """
    tree = parse(trace)
    steps = steps_of(trace, tree, opcodes=opcodes)
    spans = loop_spans(tree)
    last = [Step(line, pinned=True) for line in ending(trace)]
    lines: list[tuple[str, bool]] = []
    for keep in _KEEPS:
        lines = [
            (clean(step.text, _MAX_LINE), step.pinned)
            for step in [*fold(steps, spans, keep), *last]
        ]
        if sum(len(text) + 1 for text, _ in lines) - 1 <= max_chars:
            break
    return fit(lines, max_chars)


def fit(blocks: Sequence[tuple[str, bool]], max_chars: int, unit: str = "lines") -> str:
    """Join `(text, pinned)` blocks into at most `max_chars` characters, by whole ones if possible.

    `unit` is what the text calls the blocks that it leaves out.
    """
    if sum(len(text) + 1 for text, _ in blocks) - 1 <= max_chars:
        return "\n".join(text for text, _ in blocks)
    pinned = [text for text, is_pinned in blocks if is_pinned]
    # Each pinned block may have a gap before it, and there may be one at the end.
    notes = (len(pinned) + 1) * (len(f"... {len(blocks)} {unit} left out") + 1)
    room = max_chars - sum(len(text) + 1 for text in pinned) - notes
    if room < 0:
        return _squeeze(pinned, max_chars)
    parts: list[str] = []
    skipped = 0
    for (text, _), is_shown in zip(blocks, _choose(blocks, room), strict=True):
        if not is_shown:
            skipped += 1
            continue
        if skipped:
            parts.append(f"... {skipped} {unit} left out")
            skipped = 0
        parts.append(text)
    if skipped:
        parts.append(f"... {skipped} {unit} left out")
    return "\n".join(parts)


def _choose(blocks: Sequence[tuple[str, bool]], room: int) -> list[bool]:
    """Return which lines to show: the pinned ones, then from both ends while there is room."""
    shown = [pinned for _, pinned in blocks]
    head = int(room * _HEAD_SHARE)
    spent = 0
    for position, (text, pinned) in enumerate(blocks):
        if not pinned:
            if spent + len(text) + 1 > head:
                break
            spent += len(text) + 1
            shown[position] = True
    for position in range(len(blocks) - 1, -1, -1):
        text, _ = blocks[position]
        if not shown[position]:
            if spent + len(text) + 1 > room:
                break
            spent += len(text) + 1
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
