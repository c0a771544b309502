"""Real programs in the real sandbox: what is kept of them, how much it may cost, how they end."""

from __future__ import annotations

import itertools
import sys
import threading
from contextlib import closing

import pytest

from egcfg.interfaces.tracer import EventKind, Trace, TraceRequest
from egcfg.sandbox import Limits, Outcome, Sandbox
from egcfg_tracers.tracers import (
    BytecodeOptions,
    BytecodeTracer,
    FullOptions,
    FullTracer,
    MinimalTracer,
)

COUNT = """
def run(n):
    total = 0
    for i in range(n):
        total += i
    return total
"""


def gaps(result: Trace) -> int:
    indices = [-1, *(event.index for event in result.events)]
    return sum(b != a + 1 for a, b in itertools.pairwise(indices))


def test_requests_are_traced_in_one_batch_and_told_in_order(run, sandbox):
    batches: list[int] = []

    class Counting(Sandbox):
        async def run(self, executions):
            batches.append(len(executions))
            return await sandbox.run(executions)

    requests = [TraceRequest(source=COUNT, call=f"run({n})") for n in range(5)]
    traces = run(FullTracer().trace(requests, Counting()))
    assert batches == [5]
    assert [trace.result.text for trace in traces] == ["0", "0", "1", "3", "6"]
    assert [trace.call for trace in traces] == [request.call for request in requests]


@pytest.mark.parametrize("head", ["", "\ufeff", "# -*- coding: latin-1 -*-\n"])
def test_a_program_is_compiled_as_its_file_is(trace, head):
    traced = trace(f"{head}texts = [c for c in 'é']\n", "texts")
    # Of the two bytes of the letter, another encoding makes a letter each.
    letters = ["Ã", "©"] if "latin-1" in head else ["é"]
    assert traced.result.text == str(letters)
    elements = [event for event in traced.events if event.function == "<listcomp>" and event.delta]
    assert [event.delta["c"].text for event in elements] == [*map(repr, letters)]


def test_this_process_is_never_traced(trace):
    assert sys.gettrace() is None
    trace(COUNT, "run(3)")
    assert sys.gettrace() is None
    assert threading.gettrace() is None


def test_the_same_program_has_the_same_trace_in_another_sandbox(trace):
    source = """
class Box:
    pass

def run():
    box = Box()
    names = {"b", "a", ("c", 1), 2.5}
    order = list(names)
    return order, box, hash("x"), {id}
"""
    with closing(Sandbox()) as other:
        for tracer in (FullTracer(), BytecodeTracer(), MinimalTracer()):
            first = trace(source, "run()", tracer)
            assert trace(source, "run()", tracer, sandbox=other) == first
            assert first.outcome is Outcome.OK


def test_within_the_budget_nothing_is_missing(trace):
    result = trace(COUNT, "run(900)")
    assert (result.cut, result.lost, gaps(result)) == (False, False, 0)
    assert result.events_seen == len(result.events)


def test_beyond_the_budget_head_and_tail_stay(trace):
    options = FullOptions(head_events=100, tail_events=50, watched_events=5_000)
    result = trace(COUNT, "run(1000)", FullTracer(options))
    assert result.cut
    assert (len(result.events), gaps(result)) == (150, 1)
    assert result.events[-1].kind is EventKind.RETURN
    assert result.events[-1].value.text == "499500"
    assert result.events_seen == result.events[-1].index + 1


def test_a_program_that_is_left_alone_still_shows_how_its_function_ended(trace):
    options = FullOptions(head_events=100, tail_events=50, watched_events=200)
    result = trace(COUNT, "run(5000)", FullTracer(options))
    last = result.events[-1]
    assert (last.kind, last.depth, result.cut) == (EventKind.RETURN, 2, True)
    assert last.full["total"].text == "12497500"


def test_a_failure_after_the_budget_shows_where_it_came_from(trace):
    source = """
def check(i):
    if i == 3000:
        wrong = i
        raise ValueError("too far")

def run(n):
    for i in range(n):
        check(i)
"""
    tracer = FullTracer(FullOptions(head_events=50, tail_events=50, watched_events=200))
    result = trace(source, "run(5000)", tracer)
    origin = next(event for event in result.events if event.kind is EventKind.EXCEPTION)
    assert (origin.function, origin.line, origin.depth) == ("check", 5, 3)
    assert origin.full["wrong"].text == "3000"
    text = tracer.render(result, 600)
    assert "raise ValueError" in text
    assert "wrong=3000" in text


@pytest.mark.parametrize("tracer", [FullTracer(), BytecodeTracer(), MinimalTracer()])
def test_a_hang_shows_where_it_hangs_and_what_it_holds(trace, tracer):
    source = "def run(n):\n    i = 0\n    while i >= 0:\n        i += n\n"
    limits = Limits(cpu_seconds=0.8, wall_seconds=30.0)
    result = trace(source, "run(1)", tracer, limits)
    last = result.events[-1]
    assert result.outcome is Outcome.TIMEOUT
    assert (last.function, last.depth) == ("run", 2)
    assert int(last.full["i"].text) > 6_000
    assert "stopped: time limit" in tracer.render(result, 300)


def test_a_program_that_leaves_by_itself_leaves_every_event_up_to_then(trace):
    source = "import os\ndef run(n):\n    before = n * 2\n    os._exit(7)\n    after = 1\n"
    result = trace(source, "run(3)")
    assert result.outcome is Outcome.KILLED
    assert (result.events[-1].kind, result.events[-1].line) == (EventKind.LINE, 4)
    assert result.events[-1].delta["before"].text == "6"


def test_instructions_end_with_their_budget_and_lines_go_on(trace):
    tracer = BytecodeTracer(BytecodeOptions(op_events=30))
    result = trace(COUNT, "run(20)", tracer)
    opcodes = [event for event in result.events if event.kind is EventKind.OPCODE]
    assert len(opcodes) == 30
    assert all(event.opcode.name.isupper() for event in opcodes)
    assert (result.events[-1].kind, result.cut) == (EventKind.RETURN, True)


def test_instructions_follow_the_line_they_belong_to(trace):
    result = trace(COUNT, "run(1)", BytecodeTracer())
    lines = []
    for event in result.events:
        if event.function == "run" and event.kind is EventKind.LINE:
            line = event.line
        elif event.function == "run" and event.kind is EventKind.OPCODE:
            lines.append((event.line, line))
    assert len(lines) > 10
    assert all(own == current for own, current in lines)


BUSY_MODULE = """
import time

def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

spin(0.4)
"""


def test_after_a_module_that_took_long_its_call_is_watched(trace):
    source = BUSY_MODULE + "def run(n):\n    m = n + 1\n    return m\n"
    result = trace(source, "run(2)", MinimalTracer())
    assert MinimalTracer().render(result, 200) == "run(2)\nn=2, m=3\nresult 3"
    module_end = [event for event in result.events if event.depth == 1][-1]
    assert (module_end.kind, "run" in module_end.full) == (EventKind.RETURN, True)


@pytest.mark.parametrize("tracer", [FullTracer(), BytecodeTracer(), MinimalTracer()])
def test_a_removed_trace_function_is_noticed(trace, tracer):
    source = "import sys\ndef run():\n    sys.settrace(None)\n    x = 1\n    return x\n"
    result = trace(source, "run()", tracer)
    assert (result.lost, result.outcome) == (True, Outcome.OK)
    assert "tracing was lost" in tracer.render(result, 2_000)


def test_a_stack_overflow_loses_tracing_but_not_where_it_came_from(trace):
    result = trace("def run(n):\n    return run(n + 1)\n", "run(1)")
    assert result.lost
    assert result.raised.type == "RecursionError"
    last = result.events[-1]
    assert last.kind is EventKind.EXCEPTION
    assert int(last.full["n"].text) > 900


def test_a_handled_stack_overflow_does_not_change_what_the_program_computes(trace):
    source = """
def deep(n):
    try:
        return deep(n + 1)
    except RecursionError:
        return n

def run():
    return deep(0) > 900
"""
    result = trace(source, "run()")
    assert (result.outcome, result.result.text) == (Outcome.OK, "True")


def test_recursion_to_the_usual_depth_is_traced_to_the_end(trace):
    source = "def run(n):\n    return 0 if n == 0 else 1 + run(n - 1)\n"
    result = trace(source, "run(940)")
    assert (result.outcome, result.lost) == (Outcome.OK, False)
    assert max(event.depth for event in result.events) >= 940


def test_what_a_child_process_does_is_not_written_into_the_trace(trace):
    source = """
import os

def noise():
    for i in range(10):
        inside_child = i

def run():
    try:
        pid = os.fork()
    except OSError:
        return "no fork"
    if pid == 0:
        noise()
        os._exit(0)
    os.waitpid(pid, 0)
    return "forked"
"""
    result = trace(source, "run()")
    assert result.outcome is Outcome.OK
    assert "noise" not in {event.function for event in result.events}


def test_each_activation_of_a_generator_has_its_own_number(trace):
    source = """
def count(n):
    for i in range(n):
        yield i

def run():
    a, b = count(2), count(2)
    return [next(a), next(b), next(a), next(b)]
"""
    result = trace(source, "run()")
    yields = [event.activation for event in result.events if event.kind is EventKind.YIELD]
    first, second = yields[:2]
    assert first != second
    assert yields == [first, second, first, second]


def test_values_are_as_they_were_then(trace):
    source = "def run():\n    xs = [1]\n    xs.append(2)\n    xs.clear()\n    return xs\n"
    result = trace(source, "run()")
    told = [event.delta["xs"].text for event in result.events if "xs" in event.delta]
    assert told == ["[1]", "[1, 2]", "[]"]


@pytest.mark.parametrize("tracer", [FullTracer(), MinimalTracer()])
def test_a_result_that_cannot_be_carried_over_is_told_as_the_engine_saw_it(trace, tracer):
    source = (
        "class Box:\n    def __init__(self):\n        self.x = 1\ndef run():\n    return Box()\n"
    )
    result = trace(source, "run()", tracer)
    assert (result.result.type, result.result.text) == ("Box", "<Box x=1>")


def test_a_whole_program_runs_as_main_on_its_input(trace):
    source = "if __name__ == '__main__':\n    print(int(input()) * 2)\n"
    result = trace(source, stdin="21\n")
    assert (result.stdout, result.outcome) == ("42\n", Outcome.OK)
    assert {event.depth for event in result.events} == {1}


def test_frames_of_libraries_are_not_told_but_what_they_call_back_is(trace):
    source = """
import functools
import textwrap

def add(a, b):
    return a + b

def run():
    wide = textwrap.fill("a b c", 3)
    return functools.reduce(add, [1, 2, 3]), wide
"""
    result = trace(source, "run()")
    assert {event.function for event in result.events} == {"<module>", "run", "add"}


def test_options_are_checked():
    with pytest.raises(ValueError, match="wide"):
        FullOptions(layout="wide")
    with pytest.raises(ValueError, match="head_events"):
        FullOptions(head_events=0)


LONG = """
import time

def step(i):
    return i + 1

def run(fail):
    count, start = 0, time.process_time()
    while count < 100_000 or time.process_time() < start + 0.4:
        count = step(count)
    done = "all"
    return done if not fail else missing[count]
"""


@pytest.mark.parametrize("tracer", [FullTracer(), BytecodeTracer(), MinimalTracer()])
def test_a_long_program_that_is_left_alone_still_shows_its_end(trace, tracer):
    result = trace(LONG, "run(False)", tracer)
    last = result.events[-1]
    assert (result.outcome, result.lost) == (Outcome.OK, False)
    assert (last.kind, last.depth, last.function, last.line) == (EventKind.RETURN, 2, "run", 12)
    assert last.full["done"].text == "'all'"
    assert int(last.full["count"].text) > 12_000
    assert "result 'all'" in tracer.render(result, 300)


@pytest.mark.parametrize("tracer", [FullTracer(), BytecodeTracer(), MinimalTracer()])
def test_a_long_program_that_is_left_alone_still_shows_its_failure(trace, tracer):
    result = trace(LONG, "run(True)", tracer)
    origin, end = result.events[-2:]
    assert (origin.kind, origin.line, origin.raised.type) == (EventKind.EXCEPTION, 12, "NameError")
    assert (end.kind, end.depth, end.full["done"].text) == (EventKind.UNWIND, 2, "'all'")
    assert "done='all'" in tracer.render(result, 300)


def test_a_long_whole_program_that_is_left_alone_still_shows_its_end(trace):
    result = trace(LONG + "found = run(False)\n", tracer=MinimalTracer())
    last = result.events[-1]
    assert (last.kind, last.depth, last.full["found"].text) == (EventKind.RETURN, 1, "'all'")


def test_code_made_by_hand_with_impossible_lines_is_traced(trace):
    source = """
def run(n):
    made = compile("x = n + 1", "program.py", "exec")
    for first in (0, 2**31 - 1):
        found = {"n": n}
        exec(made.replace(co_firstlineno=first, co_name="made"), found)
        n = found["x"]
    return n
"""
    result = trace(source, "run(1)")
    assert (result.outcome, result.lost, result.result.text) == (Outcome.OK, False, "3")
    assert "made" in {event.function for event in result.events}
