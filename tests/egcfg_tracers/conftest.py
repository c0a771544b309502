"""One sandbox for all tests of the tracers, and the programs that have golden traces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from egcfg.interfaces.tracer import Trace, Tracer, TraceRequest
from egcfg.sandbox import Limits, Sandbox
from egcfg_tracers.tracers import BytecodeTracer, FullTracer, MinimalTracer

GOLDEN = Path(__file__).with_name("golden")
TRACERS: dict[str, type[Tracer]] = {
    "full": FullTracer,
    "bytecode": BytecodeTracer,
    "minimal": MinimalTracer,
}


@frozen
class GoldenTraces:
    """The traces of all programs in `golden/`, each file name with one trace per tracer."""

    names: tuple[str, ...]
    traces: dict[str, dict[str, Trace]]


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def golden_request(path: Path) -> TraceRequest:
    """Read a program; its first line says what to run: ``# call: f(3)`` or ``# stdin: 3\\n``."""
    source = path.read_text("utf-8")
    kind, _, rest = source.splitlines()[0].removeprefix("# ").partition(":")
    rest = rest.strip()
    wall = 1.0 if path.stem == "sleeps_for_ever" else 20.0
    return TraceRequest(
        source=source,
        call=rest if kind == "call" else None,
        stdin=rest.replace("\\n", "\n") if kind == "stdin" else "",
        limits=Limits(cpu_seconds=10.0, wall_seconds=wall),
    )


@pytest.fixture(scope="session")
def golden(sandbox: Sandbox) -> GoldenTraces:
    paths = sorted(GOLDEN.glob("*.program"))
    requests = [golden_request(path) for path in paths]
    names = tuple(path.stem for path in paths)
    traces: dict[str, dict[str, Trace]] = {name: {} for name in names}
    for kind, tracer in TRACERS.items():
        for name, trace in zip(names, tracer().trace(requests, sandbox), strict=True):
            traces[name][kind] = trace
    return GoldenTraces(names, traces)
