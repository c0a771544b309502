"""What a trace says against what a plain `sys.settrace` recorder sees of the same run."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from egcfg.interfaces.tracer import EventKind, Trace
from egcfg_tracers.tracers import (
    FullOptions,
    FullTracer,
    MinimalOptions,
    MinimalTracer,
)

WIDE = 10**6
BENCH = Path(__file__).parents[2] / "bench" / "trace_oracle.py"

PROGRAMS = {
    "table beyond twenty items": (
        """
def f(n):
    dp = [0] * (n + 1)
    dp[0] = 1
    for coin in (1, 5, 12):
        for total in range(coin, n + 1):
            dp[total] += dp[total - coin]
    return dp[n]
""",
        "f(40)",
    ),
    "grid beyond its text": (
        """
def f(n):
    grid = [[0] * n for _ in range(n)]
    for i in range(n):
        for j in range(n):
            grid[i][j] = i * j
    grid[n - 1][n - 1] = -1
    del grid[0]
    return sum(map(sum, grid))
""",
        "f(9)",
    ),
    "sieve": (
        """
def f(n):
    prime = [True] * n
    for i in range(2, n):
        if prime[i]:
            for j in range(i * i, n, i):
                prime[j] = False
    return [i for i in range(2, n) if prime[i]]
""",
        "f(50)",
    ),
    "long text": (
        """
def f(n):
    text = "a" * n
    text = text[:150] + "b" + text[151:]
    text = text + "cd"
    text = text[:-1]
    text = text[1:]
    data = bytes(n)
    data = data[:170] + b"x" + data[171:]
    return text.count("a"), len(data)
""",
        "f(200)",
    ),
    "sets and dicts": (
        """
def f(n):
    seen, count = set(), {}
    for i in range(n):
        seen.add(i * 7 % n)
        count[i % 25] = count.get(i % 25, 0) + i
    seen.remove(n - 1)
    del count[24]
    count[3], count[24] = 0, 1
    return len(seen), sum(count.values())
""",
        "f(60)",
    ),
    "deep": (
        """
def f(n):
    deep = [[[[[[[n]]]]]]]
    deep[0][0][0][0][0][0][0] = 9
    deep[0][0][0][0][0][0].append({"k": [1]})
    deep[0][0][0][0][0][0][1]["k"][0] = 2
    return deep
""",
        "f(1)",
    ),
    "queues": (
        """
from collections import deque, defaultdict

def f(n):
    queue, before = deque([(0, 0)]), defaultdict(list)
    while queue:
        at, steps = queue.popleft()
        for to in (2 * at + 1, 2 * at + 2):
            if to < n:
                queue.append((to, steps + 1))
                before[to].append(at)
    return len(before)
""",
        "f(70)",
    ),
    "objects": (
        """
class Node:
    def __init__(self, value, next=None):
        self.value = value
        self.next = next

    def __repr__(self):
        return f"Node({self.value}, {self.next})"

def f(n):
    head = None
    for i in range(n):
        head = Node(i, head)
    at = head
    while at.next:
        at.value *= 2
        at = at.next
    at.value = "end"
    return head.value
""",
        "f(30)",
    ),
    "helpers and failures": (
        """
def share(total, parts):
    return total // parts

def f(n):
    found = []
    for i in range(n):
        try:
            found.append(share(n, i - 2))
        except ZeroDivisionError:
            found.append(None)
    return share(found[0], n - n)
""",
        "f(4)",
    ),
    "generators": (
        """
def count(n):
    total = 0
    while total < n:
        yield total
        total += 2

def f(n):
    first = next(count(n))
    rest = list(count(n))
    return first, rest, [x * y for x in rest for y in rest if x != y]
""",
        "f(5)",
    ),
    "chain": (
        """
class Stack:
    def __init__(self):
        self.items = []
    def __repr__(self):
        return f"Stack({self.items})"
    def push(self, x):
        self.items = [*self.items, x]
        return self
    def top(self):
        return self.items[-1]
""",
        "Stack().push(1).push(2).top()",
    ),
}


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


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_change_of_a_variable_is_lost(trace: Callable[..., Trace], recorded, name):
    source, call = PROGRAMS[name]
    assert oracle.lost_changes(list(trace(source, call).events), recorded[name]) == []


def effects(text: str) -> list[tuple[str, str]]:
    """Return names and values of ``a=1, b=[2, 3]``; places such as ``dp[25]=3`` are no names."""
    parts, quote, depth = [""], "", 0
    for at, char in enumerate(text):
        if quote:
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
    return [(name, value) for name, _, value in pairs if name.isidentifier()]


def whole(value: str) -> bool:
    """Whether a text is a value's `repr`: neither cut nor made by the tracer."""
    return "..." not in value and not value.startswith(("<", "defaultdict"))


def in_order(value: str) -> str:
    """Return the text of a set in one order."""
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return repr(sorted(found)) if isinstance(found, set) else value


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_line_of_the_compact_layout_is_true(trace: Callable[..., Trace], recorded, name):
    source, call = PROGRAMS[name]
    known = recorded[name]
    states = {
        (line, variable, in_order(value))
        for activation in known.activations
        for line, variable, value in activation.states
    }
    raised = {(line, kind) for line, kind in known.raised}
    text = FullTracer(FullOptions(max_chars=WIDE)).render(trace(source, call), WIDE)
    checked = 0
    for row in text.split("\n"):
        line, _, told = row.strip().partition(" -> ")
        if not (number := re.match(r"L(\d+)\b", line)):
            continue
        told, _, returned = told.partition(" => ")
        told, _, failure = told.partition(" !! ")
        if not failure:
            failure = row.partition(" !! ")[2]
        if not returned and " => " in row:
            returned = row.partition(" => ")[2]
        returned = returned.removeprefix("yields ")
        for variable, value in effects(told):
            if whole(value):
                assert (int(number[1]), variable, in_order(value)) in states, row
                checked += 1
        if returned and whole(returned):
            assert returned in known.returns, row
        if failure:
            assert (int(number[1]), failure.partition(":")[0]) in raised, row
    assert checked > 2 or name in {"long text", "deep", "chain", "objects"}
    result = text.rpartition("\nresult ")[2]
    if known.result is not None and whole(result):
        assert result == known.result


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_phase_of_the_paper_layout_is_true(trace: Callable[..., Trace], recorded, name):
    source, call = PROGRAMS[name]
    known = recorded[name]
    lines = [line.expandtabs(4).rstrip() for line in source.splitlines()]
    before = {
        (variable, value)
        for activation in known.activations
        for _, variable, value in activation.states
    }
    tracer = FullTracer(FullOptions(layout="paper", max_chars=WIDE))
    phases = re.split(r"\n(?==+ \{)", tracer.render(trace(source, call), WIDE).strip())
    for phase in phases:
        head, event, *more = phase.split("\n")
        kind, _, shown = event.partition(": ")
        assert shown in lines or shown == call
        if head.startswith("== ") and kind == "LINE":
            held = eval(head[3:].partition(" , {")[0])
            for variable, value in held.items():
                if json.dumps(value) == json.dumps(value, default=str) and isinstance(value, int):
                    assert (variable, repr(value)) in before, phase
        if kind == "RETURN" and shown == call:
            assert phase == phases[-1], "the call returns once, at the end"
            assert more == [f"Return Value: {known.result}"] or not whole(more[0])
        if kind == "EXCEPTION" and shown != call:
            place = re.search(r"Exception: \((\w+), .*, line (\d+)\)", more[0])
            assert (int(place[2]), place[1]) in known.raised


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_minimal_layout_shows_variables_of_the_frame_that_it_names(
    trace: Callable[..., Trace], recorded, name
):
    source, call = PROGRAMS[name]
    known = recorded[name]
    tracer = MinimalTracer(MinimalOptions(max_chars=WIDE))
    result = trace(source, call, tracer)
    told = tracer.render(result, WIDE).split("\n")
    frames = {}
    for activation in known.activations:
        frames.setdefault(activation.function, set()).update(
            (variable, value) for _, variable, value in activation.states
        )
    called = call.partition("(")[0]
    for row in told[1:]:
        if row.startswith(("result", "raised")):
            continue
        if place := re.match(r"L\d+ .* in (\w+)$", row):
            called = place[1]
            continue
        if place := re.match(r"in (\w+): ", row):
            called, row = place[1], row[place.end() :]
        for variable, value in effects(row.removeprefix("where ")):
            if whole(value):
                assert (variable, value) in frames[called], row


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
