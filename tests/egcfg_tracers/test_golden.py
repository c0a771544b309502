"""What each kind of program looks like, event by event and as text: compared with stored files.

After a wanted change: ``UPDATE_GOLDEN=1 pytest tests/egcfg_tracers/test_golden.py``, then read the
difference; after that the same with each later Python. The files hold from Python 3.11 on. Where a
later version runs a program otherwise (comprehensions without frames of their own from 3.12 on,
other instructions, other lines when a generator is closed), a folder named like it has the files
that differ, and these hold from there on.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from egcfg.interfaces.tracer import Trace, Tracer
from egcfg.reports.trace_json import to_json
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


def stored(name: str) -> list[Path]:
    """Return the files of this name for this Python and earlier ones, the latest first."""
    folders = [FOLDER / f"3.{minor}" for minor in range(sys.version_info.minor, 11, -1)]
    return [path for folder in [*folders, FOLDER] if (path := folder / name).exists()]


def update(name: str, found: str) -> None:
    version = f"3.{sys.version_info.minor}"
    own = (FOLDER if version == "3.11" else FOLDER / version) / name
    own.unlink(missing_ok=True)
    if found not in [path.read_text("utf-8") for path in stored(name)[:1]]:
        own.parent.mkdir(exist_ok=True)
        own.write_text(found, "utf-8")


def compare(name: str, found: str) -> None:
    if os.environ.get("UPDATE_GOLDEN") == "1":
        update(name, found)
    assert found == stored(name)[0].read_text("utf-8")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_told_as_in_its_golden_file(golden, program, view):
    compare(f"{program}.{view}", VIEWS[view](golden.traces[program]))


@pytest.mark.parametrize("program", ["loop", "failing", "generators"])
def test_instructions_are_told_as_in_their_golden_file(golden, program):
    compare(f"{program}.bytecode.txt", OPCODES(golden.traces[program]))
