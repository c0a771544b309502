"""Executions as requests for the server, and its answers as results."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import attrs

from egcfg.sandbox.confined import codec
from egcfg.sandbox.types import Execution, ExecutionResult, Limits, Outcome, Raised
from egcfg.sandbox.watch import Answer

__all__ = ["pack_limits", "to_request", "to_result"]

# Values are decoded in the parent here, so keep what a hostile one can cost it below seconds.
BOUNDS = codec.Bounds(size=16 << 20, nodes=500_000, keys=10_000)
REPORT_BOUNDS = codec.Bounds(size=17 << 20, nodes=100, depth=4, keys=20)

REPORTED = {"value", "unsupported", "raised", "packages"}

_OUTCOMES = {
    "timeout": Outcome.TIMEOUT,
    "memory": Outcome.MEMORY,
    "output": Outcome.OUTPUT,
    "killed": Outcome.KILLED,
    "left": Outcome.KILLED,
    "sandbox_error": Outcome.SANDBOX_ERROR,
}


def to_request(execution: Execution) -> dict[str, Any]:
    """Return the request for the program's process."""
    instrument = execution.instrument
    return {
        "role": "program",
        "source": execution.source,
        "setup": execution.setup,
        "call": execution.call.source if execution.call is not None else None,
        "stdin": execution.stdin,
        "main": execution.run_as_main,
        "keep_output": execution.keep_output,
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


def to_result(
    execution: Execution, answer: Answer, packages: Collection[str] = ()
) -> ExecutionResult:
    """Return what came of an execution.

    Args:
        execution: what was run.
        answer: what came of it.
        packages: those that it could import.
    """
    if answer.how == "reported":
        try:
            report = _decode_report(answer.report)
            found = _read_report(report, execution.call is not None)
            found["packages"] = _packages(report.get("packages", []), packages)
        except codec.DecodeError as error:
            found = {"outcome": Outcome.KILLED, "detail": f"its report is malformed ({error})"}
    elif answer.how == "left" and execution.run_as_main and execution.call is None:
        found = {"outcome": Outcome.OK}  # os._exit(0) is a regular end of a whole program
    else:
        found = {"outcome": _OUTCOMES[answer.how], "detail": answer.detail}
    stdout, undecodable = _decode(answer.stdout)
    return ExecutionResult(
        stdout=stdout,
        undecodable=undecodable,
        stderr=_decode(answer.stderr)[0],
        memory=answer.memory,
        seconds=answer.seconds,
        cpu_seconds=answer.cpu_seconds,
        **found,
    )


def _decode(output: bytes) -> tuple[str, bool]:
    """Return output as text, and whether some of it is no UTF-8 and became backslash escapes."""
    try:
        return output.decode(), False
    except UnicodeDecodeError:
        return output.decode("utf-8", "backslashreplace"), True


def _decode_report(data: bytes) -> dict[str, Any]:
    """Return a program's report.

    Raises:
        DecodeError: it is not a dict of known keys.
    """
    report = codec.decode(data, REPORT_BOUNDS)
    if type(report) is not dict or not report.keys() <= REPORTED:
        raise codec.DecodeError("a report expected")
    return report


def _read_report(report: dict[str, Any], called: bool) -> dict[str, Any]:
    """Return what a program's report says, as attributes of a result."""
    if "raised" in report:
        raised = _raised(report["raised"])
        outcome = Outcome.MEMORY if raised.type == "MemoryError" else Outcome.EXCEPTION
        return {"outcome": outcome, "raised": raised}
    found: dict[str, Any] = {"outcome": Outcome.OK}
    if "unsupported" in report:
        if type(report["unsupported"]) is not str:
            raise codec.DecodeError("a reason expected")
        found["unsupported"] = report["unsupported"]
    elif called:
        if type(report.get("value")) is not bytes:
            raise codec.DecodeError("a value expected")
        try:
            found |= {"value": codec.decode(report["value"], BOUNDS), "has_value": True}
        except codec.DecodeError as error:
            found["unsupported"] = str(error)
    return found


def _packages(data: object, known: Collection[str]) -> tuple[str, ...]:
    if type(data) is not list or not all(type(item) is str and item in known for item in data):
        raise codec.DecodeError("a list of packages expected")
    return tuple(data)


def _raised(data: object) -> Raised:
    match data:
        case (str(kind), str(message), int() | None as line, str()):
            return Raised(type=kind, message=message, line=line)
    raise codec.DecodeError("an exception expected")
