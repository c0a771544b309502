"""Executions as requests for the server, and its answers as results."""

from __future__ import annotations

from typing import Any

import attrs

from egcfg.sandbox.confined import codec
from egcfg.sandbox.types import Execution, ExecutionResult, Limits, Outcome, Pace, Raised
from egcfg.sandbox.watch import Answer

__all__ = ["decode_report", "stretch", "to_request", "to_result"]

# Values are decoded in the parent here, so keep what a hostile one can cost it below seconds.
BOUNDS = codec.Bounds(size=16 << 20, nodes=500_000, keys=10_000)
REPORT_BOUNDS = codec.Bounds(size=17 << 20, nodes=100, depth=4, keys=20)

_OUTCOMES = {
    "timeout": Outcome.TIMEOUT,
    "memory": Outcome.MEMORY,
    "output": Outcome.OUTPUT,
    "killed": Outcome.KILLED,
}


def to_request(execution: Execution) -> dict[str, Any]:
    """Return what the program's process is to read."""
    instrument = execution.instrument
    return {
        "role": "program",
        "source": execution.source,
        "call": execution.call.source if execution.call is not None else None,
        "stdin": execution.stdin,
        "main": execution.run_as_main,
        "limits": pack_limits(execution.limits),
        "instrument": None
        if instrument is None
        else {
            "path": instrument.path,
            "options": dict(instrument.options),
            "memory_bytes": instrument.memory_bytes,
        },
    }


def pack_limits(limits: Limits) -> dict[str, Any]:
    """Return limits as plain data."""
    return attrs.asdict(limits)


def stretch(request: dict[str, Any], pace: Pace) -> dict[str, Any]:
    """Return a request with its limits of time as this machine needs them."""
    limits = request["limits"]
    times = {
        "cpu_seconds": limits["cpu_seconds"] * pace.cpu,
        "wall_seconds": limits["wall_seconds"] * pace.wall,
    }
    return {**request, "limits": {**limits, **times}}


def to_result(execution: Execution, answer: Answer) -> ExecutionResult:
    """Return what came of an execution."""
    result = ExecutionResult(
        outcome=Outcome.OK,
        stdout=answer.stdout.decode("utf-8", "backslashreplace"),
        stderr=answer.stderr.decode("utf-8", "backslashreplace"),
        memory=answer.memory,
        seconds=answer.seconds,
        cpu_seconds=answer.cpu_seconds,
        detail=answer.detail,
    )
    if answer.how != "reported":
        return attrs.evolve(result, outcome=_OUTCOMES[answer.how])
    try:
        return _read_report(result, decode_report(answer.report), execution.call is not None)
    except codec.DecodeError as error:
        return attrs.evolve(
            result, outcome=Outcome.KILLED, detail=f"its report is malformed ({error})"
        )


def decode_report(data: bytes) -> dict[str, Any]:
    """Return a program's report.

    Raises:
        DecodeError: it is not a dict of known keys.
    """
    report = codec.decode(data, REPORT_BOUNDS)
    if type(report) is not dict or not report.keys() <= {"value", "unsupported", "raised"}:
        raise codec.DecodeError("a report expected")
    return report


def _read_report(result: ExecutionResult, report: dict[str, Any], called: bool) -> ExecutionResult:
    if "raised" in report:
        raised = _raised(report["raised"])
        outcome = Outcome.MEMORY if raised.type == "MemoryError" else Outcome.EXCEPTION
        return attrs.evolve(result, outcome=outcome, raised=raised)
    if "unsupported" in report:
        reason = report["unsupported"]
        if type(reason) is not str:
            raise codec.DecodeError("a reason expected")
        return attrs.evolve(result, unsupported=reason)
    if not called:
        return result
    if type(report.get("value")) is not bytes:
        raise codec.DecodeError("a value expected")
    try:
        value = codec.decode(report["value"], BOUNDS)
    except codec.DecodeError as error:
        return attrs.evolve(result, unsupported=str(error))
    return attrs.evolve(result, value=value, has_value=True)


def _raised(data: object) -> Raised:
    match data:
        case (str(kind), str(message), int() | None as line, str()):
            return Raised(type=kind, message=message, line=line)
    raise codec.DecodeError("an exception expected")
