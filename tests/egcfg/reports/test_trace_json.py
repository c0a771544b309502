"""The JSON form of a trace is what its schema says; the schema in the docs is the current one."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from egcfg.interfaces.tracer import EventKind, Opcode, RaisedValue, Trace, TraceEvent, Value
from egcfg.reports.trace_json import FORMAT, json_schema, to_json
from egcfg.sandbox import Outcome

SCHEMA_FILE = Path(__file__).parents[3] / "docs" / "trace-schema.json"
EVENTS = [
    TraceEvent(
        index=0,
        kind=EventKind.CALL,
        activation=1,
        depth=2,
        function="f",
        line=1,
        delta={"n": Value("int", "3")},
    ),
    TraceEvent(
        index=1,
        kind=EventKind.OPCODE,
        activation=1,
        depth=2,
        function="f",
        line=2,
        opcode=Opcode(offset=2, name="LOAD_FAST", arg=0, argrepr="n"),
    ),
    TraceEvent(
        index=7,
        kind=EventKind.EXCEPTION,
        activation=1,
        depth=2,
        function="f",
        line=2,
        full={"n": Value("int", "3")},
        raised=RaisedValue(type="KeyError", message="'a'"),
    ),
]
TRACES = [
    Trace(source="x = 1", outcome=Outcome.SANDBOX_ERROR, detail="no"),
    Trace(
        source="def f(n): ...",
        call="f(3)",
        events=EVENTS,
        outcome=Outcome.EXCEPTION,
        raised=RaisedValue(type="KeyError", message="'a'"),
        events_seen=8,
        cut=True,
    ),
    Trace(source="", call="f()", result=Value("str", "'\ud800'"), stdout="\x1b\n"),
]


def test_the_schema_in_the_docs_is_the_current_one():
    """After a wanted change: ``python -m json.tool`` the output of `json_schema` into that file."""
    assert json.loads(SCHEMA_FILE.read_text("utf-8")) == json_schema()


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("trace", TRACES)
def test_a_trace_has_the_form_that_the_schema_describes(trace):
    form = json.loads(json.dumps(to_json(trace)))
    jsonschema.validate(form, json_schema())
    assert form["format"] == FORMAT
    assert form["events_kept"] == len(trace.events)


def test_a_form_that_lacks_or_adds_a_key_is_refused():
    form = to_json(TRACES[1])
    del form["events"][0]["func"]
    with pytest.raises(jsonschema.ValidationError, match="func"):
        jsonschema.validate(form, json_schema())
    with pytest.raises(jsonschema.ValidationError, match="more"):
        jsonschema.validate(to_json(TRACES[0]) | {"more": 1}, json_schema())


def test_events_keep_their_order_gaps_and_parts():
    first, second, third = to_json(TRACES[1])["events"]
    assert [first["i"], second["i"], third["i"]] == [0, 1, 7]
    assert first["delta"] == {"n": {"type": "int", "text": "3", "changes": []}}
    assert second["op"] == {"offset": 2, "opname": "LOAD_FAST", "arg": 0, "argrepr": "n"}
    assert third["exc"] == {"type": "KeyError", "message": "'a'", "first": True}
    assert third["full"] == {"n": {"type": "int", "text": "3", "changes": []}}
