"""What each kind of program looks like, event by event and as text: compared with stored files.

After a wanted change: ``GOLDEN_UPDATE=1 pytest tests/egcfg_tracers/test_golden.py``, then read the
difference. The files hold for Python 3.11: later versions run comprehensions without frames of
their own, and number other instructions.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from egcfg.trace_json import to_json
from egcfg.tracer import Trace, Tracer
from egcfg_tracers.tracers import (
    BytecodeOptions,
    BytecodeTracer,
    FullOptions,
    FullTracer,
    MinimalOptions,
    MinimalTracer,
)

FOLDER = Path(__file__).with_name("golden")
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.program"))
MAX_JSON_EVENTS = 150
MAX_CHARS = 2_000

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the golden files hold for Python 3.11"
)


def text(tracer: Tracer, kind: str) -> Callable[[dict[str, Trace]], str]:
    return lambda traces: tracer.render(traces[kind], MAX_CHARS) + "\n"


def events(traces: dict[str, Trace]) -> str:
    trace = traces["full"]
    form = to_json(trace) | {"source": "", "events": []}
    lines = [json.dumps(form, indent=1)]
    lines += [json.dumps(event) for event in to_json(trace)["events"][:MAX_JSON_EVENTS]]
    return "\n".join(lines) + "\n"


VIEWS: dict[str, Callable[[dict[str, Trace]], str]] = {
    "compact.txt": text(FullTracer(), "full"),
    "paper.txt": text(FullTracer(FullOptions(layout="paper")), "full"),
    "minimal.txt": text(MinimalTracer(), "minimal"),
    "minimal-paper.txt": text(MinimalTracer(MinimalOptions(layout="paper")), "minimal"),
    "events.jsonl": events,
}
OPCODES = text(BytecodeTracer(BytecodeOptions(show_opcodes=True)), "bytecode")


def compare(path: Path, found: str) -> None:
    if os.environ.get("GOLDEN_UPDATE"):
        path.write_text(found, "utf-8")
    assert found == path.read_text("utf-8")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_told_as_in_its_golden_file(golden, program, view):
    compare(FOLDER / f"{program}.{view}", VIEWS[view](golden.traces[program]))


@pytest.mark.parametrize("program", ["loop", "failing", "generators"])
def test_instructions_are_told_as_in_their_golden_file(golden, program):
    compare(FOLDER / f"{program}.bytecode.txt", OPCODES(golden.traces[program]))
