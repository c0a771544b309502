"""A trace as JSON, for tools: one object, described by ``docs/trace-schema.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from egcfg.interfaces.tracer import EventKind, Opcode, RaisedValue, Trace, TraceEvent, Value
from egcfg.sandbox.types import Outcome

__all__ = ["FORMAT", "json_schema", "to_json"]

FORMAT = "egcfg-trace-1"
"""Name and version of the form; it changes when a reader of the old one would be misled."""


def to_json(trace: Trace) -> dict[str, Any]:
    """Return `trace` as plain dicts, lists, strings, numbers, booleans and None.

    Every key is always there, so that a reader needs no defaults. Text in it comes from the traced
    program: escape it before a terminal or a page shows it.
    """
    return {
        "format": FORMAT,
        "source": trace.source,
        "call": trace.call,
        "stdin": trace.stdin,
        "events": [_event(event) for event in trace.events],
        "outcome": trace.outcome.value,
        "raised": _raised(trace.raised),
        "result": _value(trace.result),
        "stdout": trace.stdout,
        "stderr": trace.stderr,
        "events_seen": trace.events_seen,
        "events_kept": len(trace.events),
        "cut": trace.cut,
        "coarse": trace.coarse,
        "lost": trace.lost,
        "detail": trace.detail,
    }


def _event(event: TraceEvent) -> dict[str, Any]:
    return {
        "i": event.index,
        "ev": event.kind.value,
        "act": event.activation,
        "depth": event.depth,
        "func": event.function,
        "line": event.line,
        "delta": _variables(event.delta),
        "globals": _variables(event.globals),
        "full": None if event.full is None else _variables(event.full),
        "value": _value(event.value),
        "exc": _raised(event.raised),
        "op": _opcode(event.opcode),
    }


def _variables(variables: Mapping[str, Value]) -> dict[str, Any]:
    return {name: _value(value) for name, value in variables.items()}


def _value(value: Value | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {"type": value.type, "text": value.text, "changes": list(value.changes)}


def _raised(raised: RaisedValue | None) -> dict[str, Any] | None:
    if raised is None:
        return None
    return {"type": raised.type, "message": raised.message, "first": raised.first}


def _opcode(opcode: Opcode | None) -> dict[str, Any] | None:
    if opcode is None:
        return None
    return {
        "offset": opcode.offset,
        "opname": opcode.name,
        "arg": opcode.arg,
        "argrepr": opcode.argrepr,
    }


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of what `to_json` returns."""
    text = {"type": "string"}
    flag = {"type": "boolean"}
    count = {"type": "integer", "minimum": 0}
    value = {"$ref": "#/$defs/value"}
    variables = {"$ref": "#/$defs/variables"}
    exception = _or_null({"$ref": "#/$defs/exception"})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A run of a Python program, as egcfg traces it",
        **_object(
            format={"const": FORMAT},
            source=text | {"description": "The program."},
            call=_or_null(text) | {"description": "The expression evaluated after it."},
            stdin=text,
            events={
                "type": "array",
                "description": "In order of time; a gap in `i` shows where events were dropped.",
                "items": {"$ref": "#/$defs/event"},
            },
            outcome={"enum": [outcome.value for outcome in Outcome]},
            raised=exception | {"description": "What ended the run."},
            result=_or_null(value) | {"description": "Value of the call."},
            stdout=text,
            stderr=text,
            events_seen=count,
            events_kept=count,
            cut=flag | {"description": "Events were dropped for the budget."},
            coarse=flag | {"description": "Changes deep inside large values may be missing."},
            lost=flag | {"description": "Tracing stopped before the program did."},
            detail=text | {"description": "The sandbox's account of a kill or of its failure."},
        ),
        "$defs": {
            "event": _object(
                i=count | {"description": "Position among all events seen."},
                ev={"enum": [kind.value for kind in EventKind]},
                act=count | {"description": "Which call of a function; 0 if not known."},
                depth={"type": "integer", "minimum": 0, "description": "The module is 1."},
                func=text,
                line=count | {"description": "A `line` event comes before its line runs."},
                delta=variables
                | {"description": "Bound or changed since the last event of `act`."},
                globals=variables
                | {"description": "Globals that `func` names, changed since any function's event."},
                full=_or_null(variables) | {"description": "All local variables."},
                value=_or_null(value) | {"description": "What is returned or yielded."},
                exc=exception,
                op=_or_null({"$ref": "#/$defs/instruction"}),
            ),
            "variables": {"type": "object", "additionalProperties": value},
            "value": _object(
                type=text,
                text=text | {"description": "Bounded and deterministic; no addresses."},
                changes={
                    "type": "array",
                    "items": text,
                    "description": "What changed in a value whose text is cut, as in dp[25]=3.",
                },
            ),
            "exception": _object(
                type=text,
                message=text,
                first=flag | {"description": "Raised here, not passed on."},
            ),
            "instruction": _object(
                offset=count,
                opname=text,
                arg=_or_null({"type": "integer"}),
                argrepr=text,
            ),
        },
    }


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}
