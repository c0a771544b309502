"""A trace as short text: each executed line with only what it changed, within a budget.

A line's source is told once, a value that its source or the call tells is not told again.
"""

from __future__ import annotations

from collections.abc import Iterable

from egcfg.interfaces.tracer import Trace
from egcfg_tracers.fitting import Block, fit, whole
from egcfg_tracers.folding import Keep, fold
from egcfg_tracers.program_text import ProgramText
from egcfg_tracers.steps import Step, ending, steps_of
from egcfg_tracers.values import clean

__all__ = ["render_compact"]

_MAX_LINE = 300
_KEEPS = (Keep(3, 2, 4, 3, 3), Keep(2, 1, 3, 2, 2), Keep(1, 1, 2, 1, 1))


def render_compact(trace: Trace, max_chars: int, *, opcodes: bool = False) -> str:
    """Return `trace` as text of at most `max_chars` characters.

    Loops and series of calls are folded the more the less room there is; then whole lines are left
    out between the first 35 % and the last 65 %. What ran, the line that failed with its variables,
    and how it ended are always there, cut within the line if they must be.
    """
    source = ProgramText(trace.source)
    steps = steps_of(trace, source, opcodes=opcodes)
    last = [Step(line, pinned=True) for line in ending(trace)]
    blocks: list[Block] = []
    for keep in _KEEPS:
        blocks = list(_blocks([*fold(steps, source.loops, keep), *last]))
        text = whole(blocks)
        if len(text) <= max_chars:
            return text
    return fit(blocks, max_chars)


def _blocks(steps: Iterable[Step]) -> Iterable[Block]:
    for step in steps:
        text = clean(step.text(), _MAX_LINE)
        if step.source and not step.pinned:
            short = clean(step.text(short=True), _MAX_LINE)
            yield Block(text, known_as=str(step.line), short=short)
        else:
            yield Block(text, step.pinned)
