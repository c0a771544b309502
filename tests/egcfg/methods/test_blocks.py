"""Basic blocks of a traced run: where they begin and end, and the values around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from egcfg.interfaces.tracer import EventKind, Trace, TraceEvent, Tracer, TraceRequest, Value
from egcfg.methods.blocks import Block, executed_blocks, shown_blocks
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox


@pytest.fixture(scope="module")
def traced(run: Callable[..., Any], sandbox: Sandbox) -> Callable[..., Trace]:
    """Return what traces a program in the sandbox."""
    tracer: Tracer = create(Kind.TRACER, "full", {})

    def trace(source: str, call: str | None, stdin: str = "") -> Trace:
        async def work() -> Any:
            request = TraceRequest(source=source, call=call, stdin=stdin)
            return await tracer.trace([request], sandbox)  # type: ignore[misc]

        [found] = run(work())
        assert isinstance(found, Trace)
        return found

    return trace


def lines(trace: Trace) -> list[tuple[int, ...]]:
    return [block.lines for block in executed_blocks(trace)]


LOOP = """\
def add(y):
    return y + 1

def f(x):
    total = 0
    start = 1
    for i in range(x):
        y = i
        if y % 2:
            total += add(y)
    return total
"""


def test_a_run_is_cut_at_conditions_loops_and_calls(traced: Callable[..., Trace]) -> None:
    assert lines(traced(LOOP, "f(2)")) == [
        (5, 6),  # up to the loop
        (7,),  # its header, to which the run comes back
        (8, 9),  # up to the condition, and with it
        (7,),
        (8, 9),
        (10,),
        (2,),  # another function
        (7,),
        (11,),
    ]


def test_a_block_tells_the_values_before_and_after(traced: Callable[..., Trace]) -> None:
    blocks = executed_blocks(traced(LOOP, "f(2)"))
    assert blocks[0].text(LOOP) == (
        "# before: x = 2\n    total = 0\n    start = 1\n# after: x = 2, total = 0, start = 1"
    )
    [inner] = [block for block in blocks if block.lines == (2,)]
    assert inner.text(LOOP) == "# before: y = 1\n    return y + 1\n# after: y = 1; returns 2"
    [adding] = [block for block in blocks if block.lines == (10,)]
    assert (adding.before["total"].text, adding.after["total"].text) == ("0", "2")


def test_an_exception_ends_a_block(traced: Callable[..., Trace]) -> None:
    source = "def f(x):\n    y = 1\n    z = y / x\n    return z\n"
    [block] = executed_blocks(traced(source, "f(0)"))
    assert block.lines == (2, 3)
    assert block.left == "raises ZeroDivisionError: division by zero"


def test_a_statement_of_several_lines_is_shown_whole_and_once(
    traced: Callable[..., Trace],
) -> None:
    source = "def f(x):\n    y = max(\n        x,\n        2,\n    )\n    return y\n"
    assert lines(traced(source, "f(1)")) == [(2, 3, 4, 5, 6)]


def test_comprehensions_are_part_of_their_line(traced: Callable[..., Trace]) -> None:
    source = "def f(x):\n    y = [i for i in range(x)]\n    return sum(i for i in y)\n"
    assert lines(traced(source, "f(3)")) == [(2, 3)]


def test_branches_of_all_kinds_are_blocks(traced: Callable[..., Trace]) -> None:
    source = (
        "def f(x):\n    try:\n        x.a\n    except AttributeError:\n        x = 2\n"
        "    while x: x -= 1\n    match x:\n        case 0:\n            x = 5\n    return x\n"
    )
    found = lines(traced(source, "f(1)"))
    assert found[0] == (2,)
    assert found[1] == (3,)
    assert (9,) in found
    assert found[-1] == (10,)


def test_a_whole_program_begins_with_its_module(traced: Callable[..., Trace]) -> None:
    source = "x = int(input())\nif x:\n    print(x)\n"
    assert lines(traced(source, None, "3\n")) == [(1, 2), (3,)]


def test_a_program_that_does_not_compile_has_no_blocks(traced: Callable[..., Trace]) -> None:
    assert lines(traced("def f(x:\n", "f(1)")) == []


def test_a_run_that_was_cut_ends_its_open_block() -> None:
    events = [
        TraceEvent(index=n, kind=kind, activation=1, depth=2, function="f", line=line)
        for n, (kind, line) in enumerate([(EventKind.CALL, 1), (EventKind.LINE, 2)])
    ]
    trace = Trace(source="def f():\n    x = 1\n", call="f()", events=events, cut=True)
    assert lines(trace) == [(2,)]


def test_of_many_blocks_the_first_and_the_last_are_shown() -> None:
    blocks = [Block(lines=(n,), before={}, after={}) for n in range(1, 21)]
    assert [n for n, _ in shown_blocks(blocks, 10)] == [1, 2, 3, 4, 5, 16, 17, 18, 19, 20]
    assert [n for n, _ in shown_blocks(blocks, 3)] == [1, 2, 20]
    assert [n for n, _ in shown_blocks(blocks[:10], 10)] == list(range(1, 11))


def test_a_long_value_is_cut() -> None:
    block = Block(lines=(1,), before={"x": Value("str", "a" * 5000)}, after={})
    assert len(block.text("x\n")) < 200
