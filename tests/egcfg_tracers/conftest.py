"""One sandbox for all tests of the tracers, and the programs that have golden traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from egcfg.interfaces.tracer import Trace, Tracer, TraceRequest
from egcfg.sandbox import Limits, Sandbox
from egcfg_tracers.tracers import BytecodeTracer, FullTracer, MinimalTracer

PATIENT = Limits(cpu_seconds=20.0, wall_seconds=60.0)
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
    with closing(Sandbox()) as sandbox:
        yield sandbox


@pytest.fixture
def trace(run: Callable[..., Any], sandbox: Sandbox) -> Callable[..., Trace]:
    """Return a function that traces one program, or one call of it."""
    here = sandbox

    def trace_one(
        source: str,
        call: str | None = None,
        tracer: Tracer | None = None,
        limits: Limits = PATIENT,
        stdin: str = "",
        sandbox: Sandbox = here,
    ) -> Trace:
        request = TraceRequest(source=source, call=call, stdin=stdin, limits=limits)
        (result,) = run((tracer or FullTracer()).trace([request], sandbox))
        return result

    return trace_one


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
def golden(run: Callable[..., Any], sandbox: Sandbox) -> GoldenTraces:
    paths = sorted(GOLDEN.glob("*.program"))
    requests = [golden_request(path) for path in paths]
    names = tuple(path.stem for path in paths)
    traces: dict[str, dict[str, Trace]] = {name: {} for name in names}
    for kind, tracer in TRACERS.items():
        for name, trace in zip(names, run(tracer().trace(requests, sandbox)), strict=True):
            traces[name][kind] = trace
    return GoldenTraces(names, traces)
