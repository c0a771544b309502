"""Candidates as a tree, and the values of a run beside its source."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from egcfg.interfaces.solution import LineStep, Signal, SignalEntry
from egcfg.interfaces.tracer import EventKind, Trace, TraceEvent, TraceRequest, Value
from egcfg.records.telling import Teller
from egcfg.reports.page.unit_view import Branch, StepView, step_view, watched
from egcfg.sandbox import Sandbox
from egcfg_tracers.tracers import FullTracer

SOURCE = """def f(numbers):
    total = 0
    for number in numbers:
        total += number
    if total > 99:
        return 'much'
    return total"""


@pytest.fixture(scope="module")
def traced(run: Any) -> Any:
    """Return what happened when a program was really run."""
    sandbox = Sandbox()

    def trace(source: str, call: str | None, stdin: str = "") -> Trace:
        request = TraceRequest(source=source, call=call, stdin=stdin)
        [found] = run(FullTracer().trace([request], sandbox))
        return found

    yield trace
    sandbox.close()


def test_each_line_has_what_it_changed(traced: Any) -> None:
    shown = watched(traced(SOURCE, "f([1, 2, 3, 4, 5])"))
    values = {line.number: line.values for line in shown.lines}
    assert values[1] == ("numbers = [1, 2, 3, 4, 5]",)
    assert values[2] == ("total = 0",)
    assert values[3] == ("number = 1 → 2 → 3 → … → 5  (5 times)",)
    assert values[4] == ("total = 1 → 3 → 6 → … → 15  (5 times)",)
    assert values[7] == ("return 15",)
    times = {line.number: line.times for line in shown.lines}
    assert (times[4], times[6], times[7]) == (5, 0, 1)
    assert (shown.what, shown.ended, shown.failed) == ("f([1, 2, 3, 4, 5])", "15", False)


def test_the_line_that_raised_is_marked(traced: Any) -> None:
    shown = watched(traced(SOURCE, "f([1, 'a'])"))
    raised = {line.number: line.raised for line in shown.lines if line.raised}
    assert list(raised) == [4]
    assert raised[4].startswith("TypeError: ")
    assert shown.failed
    assert shown.ended.startswith("TypeError: ")


def test_a_whole_program_is_shown_with_what_it_printed(traced: Any) -> None:
    shown = watched(traced("x = int(input())\nprint(x * 2)", None, "21\n"))
    assert (shown.what, shown.printed, shown.ended) == ("stdin '21\\n'", "42\n", "ended")
    assert shown.lines[0].values == ("x = 21",)


def test_calls_of_one_function_within_another_keep_their_lines(traced: Any) -> None:
    source = (
        "def f(n):\n    if n < 2:\n        return 1\n    below = f(n - 1)\n    return n * below"
    )
    shown = watched(traced(source, "f(3)"))
    values = {line.number: line.values for line in shown.lines}
    assert values[4] == ("below = 1 → 2",)
    assert values[5] == ("return 2 → 6",)


def step(*sources: str) -> LineStep:
    entries = tuple(SignalEntry(program=s, samples=1, traces=(Trace(source=s),)) for s in sources)
    return LineStep(
        index=0,
        in_code=True,
        text="",
        tokens=(),
        signal=Signal(entries=entries, text="", tokens=0),
        fresh=True,
    )


def view(*sources: str) -> StepView:
    return step_view(Teller().step(step(*sources)), [])


def lines(branch: Branch) -> list[Any]:
    ends = [program.number for program in branch.programs]
    return [branch.lines, ends, [lines(each) for each in branch.branches]]


def test_programs_are_a_tree_of_their_lines() -> None:
    shown = view("a\nb\nc", "a\nb\nd\ne", "a\nb\nd\nf", "a\nb", "z")
    assert shown.tree is not None
    assert lines(shown.tree) == [
        [],
        [],
        [
            [
                ["a", "b"],
                [4],
                [[["c"], [1], []], [["d"], [], [[["e"], [2], []], [["f"], [3], []]]]],
            ],
            [["z"], [5], []],
        ],
    ]


def test_equal_programs_share_an_end() -> None:
    shown = view("a", "a")
    assert shown.tree is not None
    assert lines(shown.tree) == [["a"], [1, 2], []]


def test_a_step_is_shown_as_a_line_with_its_own_indent() -> None:
    told = Teller().step(evolve(step(), text="return x\n        "))
    assert "".join(text for text, _ in step_view(told, [2], "    ").parts) == "    return x"
    told = Teller().step(evolve(step(), text="\n    "))
    assert "".join(text for text, _ in step_view(told, [3]).parts) == ""


def test_runs_of_a_program_are_shown_with_the_step_that_showed_it_first() -> None:
    teller = Teller()
    first, second = (
        step_view(teller.step(evolve(step(*each), index=index)), [])
        for index, each in enumerate(["a", "ab"])
    )
    assert list(first.runs) == [1]
    assert list(second.runs) == [2]
    assert [each.before for each in second.told.programs] == ["program 1 of step 0", ""]


def test_events_that_were_dropped_leave_no_hole() -> None:
    event = TraceEvent(
        index=90,
        kind=EventKind.RETURN,
        activation=4,
        depth=2,
        function="f",
        line=99,
        value=Value("int", "1"),
    )
    assert len(watched(Trace(source="a", events=[event])).lines) == 1
