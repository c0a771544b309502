"""Watches a small program ahead of time, so that the first real one is watched at full speed.

In the process that programs' processes are forked from, it lets the interpreter specialise the
engine's code. In a program's process, which waits for its program, it fetches the memory pages that
watching will write to: each costs a copy, and they take longer than watching a short program does.

Runs inside the watched program's process: standard library only.
"""

from __future__ import annotations

import sys

from egcfg_tracers.engine import PROGRAM_FILE, Instrument

__all__ = ["Instrument", "rehearse"]

_PROGRAM = """
from typing import List

def each(items):
    for item in items:
        yield item

def add(a, b):
    return a + b

def run(n: int) -> List[int]:
    total, numbers, names = 0, [], {}
    for i in range(n):
        total = add(total, i)
        numbers.append(total)
        names[str(i)] = (i, 0.5, None)
    try:
        raise ValueError("no")
    except ValueError as error:
        kept = {1, 2}
    words = "a b".split()
    return sorted([x for x in each(numbers)], key=lambda x: -x)
"""
_MEMORY_BYTES = 1 << 15
_FIRST_TIMES = 20  # the interpreter specialises what it has run several times
_options = {"head_events": 150, "watched_events": 150, "op_events": 150}
_times = _FIRST_TIMES


def rehearse() -> None:
    """Watch the small program, in this thread, and keep nothing."""
    global _times
    program = compile(_PROGRAM, PROGRAM_FILE, "exec", dont_inherit=True)
    call = compile("run(2)", "<call>", "eval")
    for level in ("line",) * _times + (("op",) * _times if _times > 1 else ()):
        memory = memoryview(bytearray(_MEMORY_BYTES))
        instrument = Instrument({**_options, "level": level}, memory)
        namespace: dict[str, object] = {"__name__": "rehearsal"}
        sys.settrace(instrument.callback)
        try:
            exec(program, namespace)
            eval(call, namespace)
        finally:
            sys.settrace(None)
    _times = 1
