"""What a trace says against what a plain `sys.settrace` recorder sees of the same run."""

from __future__ import annotations

import ast
import importlib.util
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from egcfg.interfaces.tracer import EventKind, Trace, Tracer, TraceRequest
from egcfg.sandbox import Limits, Sandbox
from egcfg_tracers.tracers import (
    BytecodeOptions,
    BytecodeTracer,
    FullOptions,
    FullTracer,
    MinimalOptions,
    MinimalTracer,
)

from .programs import PROGRAMS
from .told import (
    agrees,
    effects,
    first_untold,
    first_untrue,
    held,
    of_the_call,
    told_by_lines,
    words_of_the_tracer,
)

# One of the programs does it on purpose, and compiling it warns from Python 3.14 on.
pytestmark = pytest.mark.filterwarnings("ignore:'return' in a 'finally':SyntaxWarning")

WIDE = 10**6
PATIENT = Limits(cpu_seconds=20.0, wall_seconds=60.0)
BENCH = Path(__file__).parents[2] / "bench" / "trace_oracle.py"


def loaded_oracle() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trace_oracle", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


oracle = loaded_oracle()


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return {name: oracle.record(*program) for name, program in PROGRAMS.items()}


TRACERS: dict[str, Tracer] = {
    "full": FullTracer(FullOptions(max_chars=WIDE)),
    "bytecode": BytecodeTracer(BytecodeOptions(max_chars=WIDE, show_opcodes=True)),
    "minimal": MinimalTracer(MinimalOptions(max_chars=WIDE)),
}
PAPER: dict[str, Tracer] = {
    "full": FullTracer(FullOptions(layout="paper", max_chars=WIDE)),
    "bytecode": BytecodeTracer(BytecodeOptions(layout="paper", max_chars=WIDE)),
    "minimal": MinimalTracer(MinimalOptions(layout="paper", max_chars=WIDE)),
}


@pytest.fixture(scope="module")
def traces(run: Callable[..., Any], sandbox: Sandbox) -> dict[tuple[str, str], Trace]:
    """By program and tracer."""
    requests = [
        TraceRequest(source=source, call=call, limits=PATIENT) for source, call in PROGRAMS.values()
    ]
    return {
        (name, kind): trace
        for kind, tracer in TRACERS.items()
        for name, trace in zip(PROGRAMS, run(tracer.trace(requests, sandbox)), strict=True)
    }


@pytest.mark.parametrize("kind", ["full", "bytecode"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_no_change_of_a_variable_is_lost(traces, recorded, name, kind):
    assert oracle.lost_changes(list(traces[name, kind].events), recorded[name]) == []


@pytest.mark.parametrize("kind", ["full", "bytecode"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_each_line_of_the_compact_layout_is_true(traces, recorded, name, kind):
    known = recorded[name]
    text = of_the_call(TRACERS[kind].render(traces[name, kind], WIDE), PROGRAMS[name])
    told = told_by_lines(text)
    assert any(not words_of_the_tracer(value) for *_, value in told)
    assert first_untrue(known.moments, [each for each in told if each[0] != "source"]) is None
    check_ending(text, known)


@pytest.mark.parametrize("kind", ["full", "bytecode"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_compact_layout_tells_all_unless_it_says_what_it_leaves_out(
    traces, recorded, name, kind
):
    """All changes of variables, returned and yielded values, and exceptions."""
    text = of_the_call(TRACERS[kind].render(traces[name, kind], WIDE), PROGRAMS[name])
    if re.search(r"^ *\.\.\. |\.\.\.$", text, re.MULTILINE) is None:
        _, call = PROGRAMS[name]
        assert first_untold(recorded[name], told_by_lines(text), call) is None


def check_ending(text: str, known: Any) -> None:
    """The last line tells the value of the call, or the exception that it was left by."""
    last = text.rpartition("\n")[2]
    if known.result is None:
        assert agrees(last.removeprefix("raised "), known.moments[-1].told)
    else:
        assert agrees(last.removeprefix("result "), known.result)


def as_json(text: str) -> Any:
    """Return a value as the paper's layout shows it; what JSON cannot hold stays a text."""
    try:
        return json.loads(json.dumps(ast.literal_eval(text)))
    except (ValueError, SyntaxError, TypeError):
        return text


def shows(shown: dict[str, Any], variables: dict[str, str]) -> bool:
    """Whether a dict of the paper's layout has all variables, each with its value."""
    return shown.keys() == variables.keys() and all(
        value == as_json(variables[name])
        or repr(value) == variables[name]
        or (isinstance(value, str) and agrees(value, variables[name]))
        for name, value in shown.items()
    )


def shown_dict(line: str) -> dict[str, Any]:
    """Return the variables of ``== {...} , {...}``."""
    names = {"inf": math.inf}
    variables: dict[str, Any] = eval(line.lstrip("= ").partition("} , {")[0] + "}", names)
    return variables


@pytest.mark.parametrize("kind", ["full", "bytecode"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_each_phase_of_the_paper_layout_is_true(traces, recorded, name, kind):
    """All lines in their order with all variables, all returned values and failures."""
    source, call = PROGRAMS[name]
    known = recorded[name]
    lines = [line.expandtabs(4).rstrip() for line in source.splitlines()]
    text = PAPER[kind].render(traces[name, kind], WIDE).strip()
    stops: list[tuple[str, dict[str, Any]]] = []
    returned: list[str] = []
    left: list[str] = []
    ended: list[int] = []
    phases = re.split(r"\n(?==+ \{)", text)
    for number, phase in enumerate(phases):
        head, event, *more = phase.split("\n")
        what, _, shown = event.partition(": ")
        assert shown in lines or shown == call
        if what == "LINE" and shown != call:
            stops.append((shown, shown_dict(head)))
        elif what == "RETURN" and shown == call:
            assert agrees(more[0].removeprefix("Return Value: "), known.result)
            ended.append(number)
        elif what == "RETURN":
            returned.append(more[0].removeprefix("Return Value: "))
        elif what == "EXCEPTION":
            left.append(more[0])

    assert ended == ([] if known.result is None else [len(phases) - 1])
    moments = [m for m in known.moments if m.told != "GeneratorExit"]
    before = [moment for moment in moments if moment.event == "line"]
    assert len(stops) == len(before) > 0
    for (shown, variables), moment in zip(stops, before, strict=True):
        assert shown == lines[moment.line - 1]
        assert shows(variables, moment.variables), (shown, variables, moment.variables)
    values = [moment.told for moment in moments if moment.event == "return"]
    if len(returned) < len(values):  # that of the called function is told as the call's
        assert values.pop() == known.result
    for shown, real in zip(returned, values, strict=True):
        assert agrees(shown, real)
    failures = [moment for moment in moments if moment.event == "left"]
    places = [f"line {moment.line}" for moment in failures]
    if known.result is None:  # the call fails as well, with what its function was left by
        failures, places = [*failures, failures[-1]], [*places, "the call"]
    for triple, moment, place in zip(left, failures, places, strict=True):
        raised, _, message = moment.told.partition(": ")
        assert triple == f"Exception: ({raised}, {message!r}, {place})"


def last_moments(known: Any) -> list[Any]:
    """Return the last moment of each call."""
    return list({moment.activation: moment for moment in known.moments}.values())


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_minimal_layout_shows_the_last_variables_of_the_frame_that_it_names(
    traces, recorded, name
):
    """Or, of a line that failed, those that it failed with."""
    _, call = PROGRAMS[name]
    known = recorded[name]
    moments = last_moments(known)
    told = TRACERS["minimal"].render(traces[name, "minimal"], WIDE).split("\n")
    function = call.partition("(")[0]
    checked = 0
    for row in told[1:]:
        if row.startswith(("result", "raised")):
            continue
        if place := re.match(r"L(\d+) .* in (\w+)$", row):
            function = place[2]
            failed = "exception", int(place[1])
            moments = [m for m in known.moments if (m.event, m.line) == failed]
            continue
        if place := re.match(r"in (\w+): ", row):
            function, row = place[1], row[place.end() :]
        shown = effects(row.removeprefix("where "))
        assert any(
            known.activations[moment.activation].function == function
            and all(agrees(value, held(moment, name)) for name, value in shown)
            for moment in moments
        ), row
        checked += len(shown)
    assert checked > 0
    check_ending("\n".join(told), known)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_minimal_layout_of_the_paper_shows_all_last_variables_of_the_called_function(
    traces, recorded, name
):
    known = recorded[name]
    text = PAPER["minimal"].render(traces[name, "minimal"], WIDE).strip()
    state, *rest = text.split("\n")
    shown = shown_dict(state)
    _, call = PROGRAMS[name]
    called = re.search(r"(\w+)\([^()]*\)$", call)[1]
    assert shown
    assert any(
        shows(shown, moment.variables)
        for moment in last_moments(known)
        if known.activations[moment.activation].function == called
    )
    if known.result is None:
        check_ending("\n".join(rest), known)


def test_a_failing_line_stands_with_the_variables_of_its_own_frame(trace: Callable[..., Trace]):
    source = "def g(n): return 6 / (n - 1)\ndef f(n): return g(n - 1)\n"
    tracer = MinimalTracer()
    assert tracer.render(trace(source, "f(2)", tracer), 300).split("\n") == [
        "f(2)",
        "n=2",
        "L1 def g(n): return 6 / (n - 1) in g",
        "where n=1",
        "raised ZeroDivisionError: division by zero",
    ]


def test_changes_of_globals_attributes_and_classes_are_told_where_they_happen(
    trace: Callable[..., Trace],
):
    source = """
memo, log, count = {}, [], 0
class Tally:
    total = 0
def f(n):
    global count
    count += 1
    memo[n] = n * n
    log.append(n)
    Tally.total += n
    f.calls = getattr(f, "calls", 0) + 1
    return count
"""
    text = FullTracer().render(trace(source, "f(3)"), 2_000)
    for line in (
        "L7 count += 1 -> count=1",
        "L8 memo[n] = n * n -> memo={3: 9}",
        "L9 log.append(n) -> log=[3]",
        "L10 Tally.total += n -> Tally.total=3",
        'L11 f.calls = getattr(f, "calls", 0) + 1 -> f.calls=1',
    ):
        assert line in text.split("\n")


def test_comprehensions_tell_each_iteration_in_order_and_its_element(trace: Callable[..., Trace]):
    source = """
def f(n):
    return [[i * j for j in range(1, n) if j % 2] for i in range(2)], {x: -x for x in [1, 1]}
"""
    text = FullTracer().render(trace(source, "f(4)"), 2_000)
    assert [line.strip() for line in text.split("\n")[2:-1]] == [
        *("i=0", "j=1 => 0", "j=2", "j=3 => 0", "L3 => [0, 0]"),
        *("i=1", "j=1 => 1", "j=2", "j=3 => 3", "L3 => [1, 3]"),
        *("x=1 => 1: -1", "x=1 => 1: -1"),
    ]


@pytest.mark.parametrize(
    ("source", "call", "result"),
    [
        ("def f(n):\n    for i in range(n):\n        yield i\n", "f(3)", "[0, 1, 2]"),
        ("async def f(n):\n    for i in range(n):\n        yield i\n", "f(2)", "[0, 1]"),
    ],
)
def test_a_called_generator_is_traced_while_it_is_consumed(trace, source, call, result):
    seen = trace(source, call)
    text = FullTracer().render(seen, 2_000)
    assert "yields 1" in text
    assert text.endswith(f"generator that yields {result}>")
    assert sum(event.kind is EventKind.YIELD for event in seen.events) == result.count(",") + 1


def test_an_endless_generator_is_asked_for_some_values_only(trace: Callable[..., Trace]):
    source = "def f():\n    n = 0\n    while True:\n        yield n\n        n += 1\n"
    assert trace(source, "f()").result.text.endswith("... 180 more], not asked for more>")


def test_an_iteration_that_takes_another_way_is_shown(trace: Callable[..., Trace]):
    source = """
def f(n):
    odd = []
    for i in range(n):
        if i == 47:
            odd.append(i)
    return odd
"""
    text = FullTracer().render(trace(source, "f(100)"), 2_000)
    assert "L6 odd.append(i) -> odd=[47]" in text
    shown = len(re.findall(r"^L4\b", text, re.MULTILINE))
    assert shown - 1 + sum(map(int, re.findall(r"\.\.\. (\d+) more iteration", text))) == 100


def test_only_addresses_of_this_run_are_taken_out_of_texts(trace: Callable[..., Trace]):
    source = """
def f():
    literal = "<Node object at 0x7f12ab345678>"
    real = repr(object())
    print(literal, object())
    return literal
"""
    text = FullTracer().render(trace(source, "f()"), 2_000)
    assert text.count("0x7f12ab345678") == 4  # source, variable, output, result
    assert "real='<object object at 0x...>'" in text
    assert len(re.findall(r"at 0x[0-9a-f]+", text)) == 4
