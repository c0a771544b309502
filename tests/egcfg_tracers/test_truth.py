"""What a trace says against what a plain `sys.settrace` recorder sees of the same run."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
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


PLACE = r"([^\W\d]\w*)(\[[^]]+\])*"
CHANGED = rf"{PLACE}|len\({PLACE}\)|del {PLACE}|{PLACE}\.(add|remove)\(.*\)"


def variable_of(place: str) -> str:
    """Return the variable that a place such as ``dp[25]`` is in; none, where there is no place."""
    return re.findall(r"\w*", place.removeprefix("len(").removeprefix("del "))[0]


def effects(text: str) -> list[tuple[str, str]]:
    """Return places and values of ``a=1, b=[2, 3], dp[25]=3``, not what is told of attributes.

    What is no value, as ``del dp[25]`` and ``seen.add(3)``, has an empty one.
    """
    parts, quote, depth = [""], "", 0
    for at, char in enumerate(text):
        if text.startswith("...,", at):  # the value is cut, so what it opens stays open
            quote, depth = "", 0
        elif quote:
            quote = "" if char == quote and text[at - 1] != "\\" else quote
        elif char in "'\"":
            quote = char
        else:
            depth += (char in "([{<") - (char in ")]}>")
        if char == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += char
    pairs = [part.strip().partition("=") for part in parts]
    return [(name, value) for name, _, value in pairs if re.fullmatch(CHANGED, name)]


def words_of_the_tracer(value: str) -> bool:
    """Whether a text is no `repr` but made by the tracer, as of an object of the program's."""
    return value.startswith(("<", "defaultdict"))


def in_order(value: str) -> str:
    """Return the text of a set in one order."""
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return repr(sorted(found)) if isinstance(found, set) else value


def agrees(shown: str, real: str | None) -> bool:
    """Whether a shown text is a value's `repr`, its ends where it is cut, or the tracer's words."""
    if real is None or words_of_the_tracer(shown):
        return real is not None
    shown = shown.replace("<cycle>", "[...]")
    if "..." in shown and shown != real:
        head, tail = shown.partition("...")[0].rstrip("'"), shown.rpartition("...")[2]
        tail = re.sub(r"^ \d+ more|^b?'", "", tail)
        return real.startswith(head) and real.endswith(tail)
    return in_order(shown) == in_order(real)


Told = tuple[str, int, str, str]
"""``call``, ``held``, ``return``, ``exception`` or ``source``; line; variable; text."""


def held(moment: Any, place: str) -> str | None:
    """Return the text of a variable or of a place in one such as ``dp[25]``, if there is one."""
    variable = variable_of(place)
    text: str | None = moment.variables.get(variable)
    if text is None or place == variable:
        return text
    if place.startswith("del "):
        return ""
    try:
        whole = ast.literal_eval(text)
        if change := re.fullmatch(rf"{variable}\.(add|remove)\((.*)\)", place):
            return "" if (ast.literal_eval(change[2]) in whole) == (change[1] == "add") else None
        part = eval(place, {variable: whole})
    except (ValueError, LookupError):
        return None
    return repr(bytes([part]) if isinstance(whole, bytes) else part)


def happened(moment: Any, told: Told) -> bool:
    """Whether something told is what the recorder saw at a moment."""
    kind, line, name, text = told
    if kind in ("call", "held"):
        place = (moment.event, 0) if kind == "call" else ("held", moment.ran)
        return place == (kind, line) and agrees(text, held(moment, name))
    return (moment.event, moment.line) == (kind, line) and agrees(text, moment.told)


def first_untrue(moments: Sequence[Any], told: Sequence[Told]) -> Told | None:
    """Return the first thing told that did not happen, or not after what is told before it."""
    at = 0
    for each in told:
        while at < len(moments) and not happened(moments[at], each):
            at += 1
        if at == len(moments):
            return each
        at += not each[2]  # several variables may hold at one moment
    return None


def worth_telling(known: Any, call: str) -> Iterator[tuple[Any, list[Told]]]:
    """Yield each moment with what a text that leaves nothing out must tell of it.

    That is all but: variables that are deleted; arguments that the call itself tells; exceptions
    where they are passed on or raised again, and those by which a generator is closed or ends; the
    value of the call, which `check_ending` looks for.
    """
    texts: dict[int, dict[str, str]] = {}
    for number, moment in enumerate(known.moments):
        before = texts.setdefault(moment.activation, {})
        kind, line = ("call", 0) if moment.event == "call" else ("held", moment.ran)
        due = [
            (kind, line, name, text)
            for name, text in moment.variables.items()
            if before.get(name) != text and not (number == 0 and text in call)
        ]
        texts[moment.activation] = moment.variables
        is_result = number == len(known.moments) - 1 and moment.told == known.result
        raised = moment.first and not moment.told.startswith(("GeneratorExit", "StopIteration"))
        if (moment.event == "return" and not is_result) or raised:
            due.append((moment.event, moment.line, "", moment.told))
        yield moment, due


def first_untold(known: Any, told: Sequence[Told], call: str) -> Told | None:
    """Return the first thing that is told nowhere, or only before what happened earlier."""
    start = 0
    for moment, due in worth_telling(known, call):
        found = []
        for each in due:
            matching = (n for n in range(start, len(told)) if tells(told[n], moment, each))
            found.append(next(matching, None))
            if found[-1] is None:
                return each
        start = max(found, default=start - 1) + 1
    return None


def tells(told: Told, moment: Any, due: Told) -> bool:
    """Whether something told is what is due, of a variable also a change within it."""
    kind, line, name, text = told
    if kind == "source":
        return ("held", line, name, text) == due
    return (kind, line) == due[:2] and variable_of(name) == due[2] and happened(moment, told)


def told_by_lines(text: str) -> list[Told]:
    """Return what the rows of a compact text say of calls and lines, from top to bottom.

    A row that has nothing but ``name = value`` may tell in its source what it does.
    """
    told: list[Told] = []
    line = 0
    for number, row in enumerate(map(str.strip, text.split("\n"))):
        if match := re.match(r"L(\d+)\b", row):
            line = int(match[1])
        if match or number == 0 or row.startswith("call "):
            parts = re.split(r" (->|=>|!!) ", row)
        elif row.startswith("where "):  # what held when the line above failed
            shown = effects(row.removeprefix("where "))
            told[-1:-1] = [("held", line, name, value) for name, value in shown]
            continue
        else:
            continue
        if bound := re.fullmatch(r"L\d+ (\w+) = (.*?)( \[[A-Z_]+\b.*\])?", row):
            told.append(("source", line, bound[1], bound[2]))
        for sign, said in zip(parts[1::2], parts[2::2], strict=True):
            if sign == "->" and match is None:
                told += [("call", 0, name, value) for name, value in effects(said)]
            elif sign == "->":
                told += [("held", line, name, value) for name, value in effects(said)]
            else:
                kind = "return" if sign == "=>" else "exception"
                told.append((kind, line, "", said.removeprefix("yields ")))
    return told


@pytest.mark.parametrize("kind", ["full", "bytecode"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_each_line_of_the_compact_layout_is_true(traces, recorded, name, kind):
    known = recorded[name]
    text = TRACERS[kind].render(traces[name, kind], WIDE)
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
    text = TRACERS[kind].render(traces[name, kind], WIDE)
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
        or (isinstance(value, str) and agrees(value, variables[name]))
        for name, value in shown.items()
    )


def shown_dict(line: str) -> dict[str, Any]:
    """Return the variables of ``== {...} , {...}``."""
    variables: dict[str, Any] = eval(line.lstrip("= ").partition("} , {")[0] + "}")
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
    for phase in re.split(r"\n(?==+ \{)", text):
        head, event, *more = phase.split("\n")
        what, _, shown = event.partition(": ")
        assert shown in lines or shown == call
        if what == "LINE" and shown != call:
            stops.append((shown, shown_dict(head)))
        elif what == "RETURN" and shown == call:
            assert agrees(more[0].removeprefix("Return Value: "), known.result)
        elif what == "RETURN":
            returned.append(more[0].removeprefix("Return Value: "))
        elif what == "EXCEPTION":
            left.append(more[0])

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
    source = "def g(n): return 6 // (n - 1)\ndef f(n): return g(n - 1)\n"
    tracer = MinimalTracer()
    assert tracer.render(trace(source, "f(2)", tracer), 300).split("\n") == [
        "f(2)",
        "n=2",
        "L1 def g(n): return 6 // (n - 1) in g",
        "where n=1",
        "raised ZeroDivisionError: integer division or modulo by zero",
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
