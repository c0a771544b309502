"""Text stays within any limit, says what it left out, and keeps what matters most."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from egcfg.interfaces.tracer import EventKind, RaisedValue, Trace, TraceEvent, TraceRequest, Value
from egcfg.sandbox import Outcome
from egcfg_tracers.fitting import Block, fit, whole
from egcfg_tracers.tracers import (
    BytecodeOptions,
    BytecodeTracer,
    FullOptions,
    FullTracer,
    MinimalOptions,
    MinimalTracer,
)

WIDE = 10**6
RENDERERS = {
    "compact": FullTracer(FullOptions(max_chars=WIDE)),
    "opcodes": BytecodeTracer(BytecodeOptions(max_chars=WIDE, show_opcodes=True)),
    "paper": FullTracer(FullOptions(max_chars=WIDE, layout="paper")),
    "minimal": MinimalTracer(MinimalOptions(max_chars=WIDE)),
    "minimal paper": MinimalTracer(MinimalOptions(max_chars=WIDE, layout="paper")),
}

names = st.sampled_from(["f", "g", "<module>", "<listcomp>", "x\ud800"])
texts = st.sampled_from(
    ["1", "[1, 2]", "'a'", "{1: (2,)}", "<Foo x=1>", "{1, 2}", "nan", "'", "(("]
)
variables = st.dictionaries(
    st.sampled_from("abc"), st.builds(Value, st.sampled_from(["int", "list", "", "str"]), texts)
)
raised = st.builds(
    RaisedValue,
    type=st.sampled_from(["KeyError", "GeneratorExit"]),
    message=st.text(max_size=5),
    first=st.booleans(),
)
events = st.builds(
    TraceEvent,
    index=st.integers(0, 60),
    kind=st.sampled_from(EventKind),
    activation=st.integers(0, 6),
    depth=st.integers(0, 70_000),
    function=names,
    line=st.integers(0, 9),
    delta=variables,
    full=st.none() | variables,
    value=st.none() | st.builds(Value, st.just("int"), texts),
    raised=st.none() | raised,
)
traces = st.builds(
    Trace,
    source=st.sampled_from(
        ["", "def f(:", "def f(n):\n  for i in n:\n    g(i)\n  return [x for x in n]"]
    ),
    call=st.sampled_from([None, "f(1)", "\x1b[31m"]),
    stdin=st.text(max_size=5),
    events=st.lists(events, max_size=40),
    outcome=st.sampled_from(Outcome),
    raised=st.none() | raised,
    result=st.none() | st.builds(Value, st.just("int"), texts),
    stdout=st.text(max_size=20),
    cut=st.booleans(),
    lost=st.booleans(),
)

NAMED = Trace(
    source="def f(n):\n    return n",
    call="f(1)",
    events=[
        TraceEvent(
            index=0,
            kind=EventKind.CALL,
            activation=1,
            depth=2,
            function="x\ud800",
            line=1,
            delta={"n": Value("int", "1")},
        )
    ],
    outcome=Outcome.OK,
)


# A trace is memory of the program's process, which may write there what it likes.
WITHIN_EACH_OTHER = Trace(
    source="x = [i for i in range(2)]\n",
    call=None,
    events=[
        TraceEvent(
            index=index,
            kind=EventKind.LINE,
            activation=activation,
            depth=depth,
            function="<listcomp>",
            line=1,
            delta={"i": Value("int", "1")},
        )
        for index, (activation, depth) in enumerate([(0, 1), (1, 2), (2, 3), (1, 4), (2, 2)])
    ],
    outcome=Outcome.OK,
)


@pytest.mark.parametrize("renderer", RENDERERS)
@given(trace=traces, limit=st.integers(0, 3_000))
@example(trace=NAMED, limit=300)
@example(trace=WITHIN_EACH_OTHER, limit=300)
@settings(max_examples=settings.default.max_examples // 3)
def test_any_trace_reads_within_any_limit_and_without_control_characters(renderer, trace, limit):
    text = RENDERERS[renderer].render(trace, limit)
    assert len(text) <= limit
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("limit", [0, 1, 40, 100, 300, 700, 2_000, 20_000])
def test_real_traces_read_within_any_limit(golden, limit):
    for name in golden.names:
        for kind, renderer in (("full", "compact"), ("full", "paper"), ("minimal", "minimal")):
            text = RENDERERS[renderer].render(golden.traces[name][kind], limit)
            assert len(text) <= limit


@pytest.mark.parametrize("limit", [220, 400, 800])
def test_the_call_the_failing_line_its_variables_and_the_end_are_always_there(golden, limit):
    trace = golden.traces["failing"]["full"]
    text = RENDERERS["compact"].render(trace, limit)
    assert text.startswith("f([1, 2, 0, 4])")
    assert "return total / part !! ZeroDivisionError" in text
    assert "where total=12, part=0" in text
    assert text.endswith("raised ZeroDivisionError: division by zero")


def test_the_effect_of_the_last_line_is_there_in_every_layout(golden):
    traces = golden.traces["last_line"]
    assert "total=120" in RENDERERS["compact"].render(traces["full"], 300)
    assert "'total': 120" in RENDERERS["paper"].render(traces["full"], 2_000)
    assert "total=120" in RENDERERS["minimal"].render(traces["minimal"], 300)
    assert "'total': 120" in RENDERERS["minimal paper"].render(traces["minimal"], 300)


def test_folded_iterations_are_counted(golden):
    text = RENDERERS["compact"].render(golden.traces["iterations_that_differ"]["full"], 2_000)
    visits = len(re.findall(r"^L4\b", text, re.MULTILINE))
    (folded,) = re.findall(r"\.\.\. (\d+) more iterations", text)
    assert visits - 1 + int(folded) == 111  # the last visit only ends the loop


def test_folded_calls_are_counted(golden):
    text = RENDERERS["compact"].render(golden.traces["recursion"]["full"], 2_000)
    shown = len(re.findall(r"^ *call fact", text, re.MULTILINE))
    folded = {int(count) for count in re.findall(r"inside (\d+) other calls of fact", text)}
    assert folded == {29 - shown}


def test_events_that_were_not_recorded_are_counted(golden):
    trace = golden.traces["deep_recursion"]["full"]
    text = RENDERERS["compact"].render(trace, 20_000)
    missing = trace.events_seen - len(trace.events)
    assert f"... {missing} events not recorded" in text


def test_the_paper_layout_starts_and_ends_with_a_blank_line(golden):
    lines = RENDERERS["paper"].render(golden.traces["loop"]["full"], 20_000).split("\n")
    assert lines[0] == lines[-1] == " "
    assert lines[1:3] == ["= {'f': '<Function f>'} , {'f': 'Function'}", "LINE: f(3)"]
    assert lines[-3:-1] == ["RETURN: f(3)", "Return Value: 3"]


def test_blocks_are_left_out_between_a_third_and_two_thirds():
    blocks = [Block(f"line {number:03}", number in (0, 50, 99)) for number in range(100)]
    lines = fit(blocks, 400).split("\n")
    shown = [int(line.removeprefix("line ")) for line in lines if line.startswith("line")]
    assert {0, 50, 99} <= set(shown)
    head = sum(number < 50 for number in shown)
    assert 0.2 < head / len(shown) < 0.5
    skipped = [int(line.split()[1]) for line in lines if line.startswith("...")]
    assert sum(skipped) + len(shown) == 100


def test_a_block_left_out_is_no_block_that_fits():
    blocks = [Block("x" * 30, number in (0, 8)) for number in range(9)]
    assert whole(blocks) == fit(blocks, 300) == "\n".join(["x" * 30] * 9)
    assert len(fit(blocks, 255)) <= 255
    assert "left out" in fit(blocks, 255)


def test_a_short_form_is_shown_only_where_the_whole_one_is():
    blocks = [
        Block(f"L{n % 3} {'x' * 20} -> {n}", False, str(n % 3), f"L{n % 3} -> {n}")
        for n in range(60)
    ]
    for limit in (60, 100, 200, 400, 700, 2_000):
        text = fit(blocks, limit)
        assert len(text) <= limit
        whole: set[str] = set()
        for line in text.split("\n"):
            if line.startswith("L"):
                whole |= {line[:2]} if "x" in line else set()
                assert line[:2] in whole


def test_what_the_call_or_the_line_says_is_not_said_again(run, sandbox):
    source = """from math import floor

def f(n, m=2, *, k):
    empty = []
    half = n / m
    return floor(half) + k
"""
    tracer = FullTracer()
    request = TraceRequest(source=source, call="f(6, k=1 + 1)")
    (trace,) = run(tracer.trace([request], sandbox))
    assert tracer.render(trace, 2_000).split("\n") == [
        "f(6, k=1 + 1) -> m=2, k=2",
        "L4 empty = []",
        "L5 half = n / m -> half=3.0",
        "L6 return floor(half) + k",
        "result 5",
    ]
