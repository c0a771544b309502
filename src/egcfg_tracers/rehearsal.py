"""Watches a small program ahead of time, so that the first real one is watched at full speed.

In the process that programs' processes are forked from, it lets the interpreter specialise the
engine's code. In a program's process, which waits for its program, it fetches the memory pages that
watching will write to: each costs a copy, and they take longer than watching a short program does.

Runs inside the watched program's process: standard library only.
"""

from __future__ import annotations

import sys

from egcfg_tracers.codes import PROGRAM_FILE
from egcfg_tracers.engine import Instrument

__all__ = ["Instrument", "rehearse"]

_PROGRAM = b"""
seen = {}
def run(n):
    values = [n, 0.5, "text"]
    seen[n] = True
    return {x: None for x in values}
"""
_MEMORY_BYTES = 1 << 13
_EVENTS = 200
_FIRST_TIMES = 20  # the interpreter specialises what it has run several times
_call = compile("run(2)", "<call>", "eval")
_has_run = False


def rehearse() -> None:
    """Watch the small program, in this thread, and keep nothing."""
    global _has_run
    levels = ("line",) if _has_run else ("line", "op") * _FIRST_TIMES
    _has_run = True
    for level in levels:
        options = {
            "level": level,
            "head_events": _EVENTS,
            "watched_events": _EVENTS,
            "op_events": _EVENTS,
        }
        instrument = Instrument(options, memoryview(bytearray(_MEMORY_BYTES)))
        program = instrument.compile(_PROGRAM, PROGRAM_FILE)
        namespace: dict[str, object] = {"__name__": "rehearsal"}
        sys.settrace(instrument.callback)
        try:
            exec(program, namespace)
            instrument.finish(eval(_call, namespace))
        finally:
            sys.settrace(None)
