from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from egcfg.decoding.feedback import SignalBuilder, trace_requests
from egcfg.decoding.programs import Program
from egcfg.interfaces.problem import AssertTest, Problem, StdioTest
from egcfg.interfaces.tracer import Trace, Tracer, TraceRequest
from egcfg.sandbox import Sandbox

PROBLEM = Problem(
    task_id="1",
    description="",
    entry_point="f",
    visible_tests=[AssertTest("assert f(1) == 77"), AssertTest("assert f(2) == 88")],
    hidden_tests=[AssertTest("assert f(3) == 99")],
)
PROGRAMS = [Program(f"def f(x):\n    return x + {n}", samples=1) for n in range(4)]


@frozen
class LongTracer(Tracer):
    """Always has more to say than fits."""

    @frozen
    class Options:
        """None."""

    def trace(self, requests: Sequence[TraceRequest], sandbox: Sandbox) -> list[Trace]:  # noqa: ARG002
        return [Trace(source=r.source, call=r.call, stdin=r.stdin) for r in requests]

    def render(self, trace: Trace, max_chars: int) -> str:
        return (f"{trace.source[-1]}{trace.call}" * max_chars)[:max_chars]


BUILDER = SignalBuilder(LongTracer(), Sandbox(), len)


@given(st.integers(0, 20_000), st.integers(0, 4))
def test_the_text_stays_within_its_budget(budget: int, programs: int) -> None:
    signal = BUILDER.build(PROBLEM, PROGRAMS[:programs], budget)
    assert len(signal.text) == signal.tokens <= budget
    assert len(signal.entries) == programs
    shown = [entry for entry in signal.entries if entry.shown]
    assert all(entry.program in signal.text for entry in shown)
    whole = BUILDER.build(PROBLEM, PROGRAMS[:programs], 20_000)
    assert signal.cut == (signal.text != whole.text)


def test_traces_are_shortened_before_a_program_is_dropped() -> None:
    whole = BUILDER.build(PROBLEM, PROGRAMS, 20_000)
    tight = BUILDER.build(PROBLEM, PROGRAMS, 3_000)
    tiny = BUILDER.build(PROBLEM, PROGRAMS, 500)
    assert not whole.cut
    assert tight.cut
    assert all(entry.shown for entry in tight.entries)
    assert [entry.shown for entry in tiny.entries] == [True, False, False, False]


def test_what_a_context_has_no_room_for_goes_from_the_oldest_candidate_on() -> None:
    whole = BUILDER.build(PROBLEM, PROGRAMS, 20_000)
    one_less = BUILDER.shorten(whole, whole.tokens - 1)
    assert [entry.shown for entry in one_less.entries] == [False, True, True, True]
    tiny = BUILDER.shorten(whole, 500)
    assert [entry.shown for entry in tiny.entries] == [False, False, False, True]
    assert PROGRAMS[3].source in tiny.text
    nothing = BUILDER.shorten(whole, 0)
    assert (nothing.text, len(nothing.entries)) == ("", 4)
    assert all(signal.cut for signal in (one_less, tiny, nothing))


def test_what_ran_before_is_not_run_again_and_comes_first() -> None:
    before = BUILDER.build(PROBLEM, PROGRAMS[2:], 20_000)
    ran: list[str] = []

    class Watched(LongTracer):
        def trace(self, requests: Sequence[TraceRequest], sandbox: Sandbox) -> list[Trace]:
            ran.extend(request.source for request in requests)
            return super().trace(requests, sandbox)

    builder = SignalBuilder(Watched(), Sandbox(), len)
    after = builder.build(PROBLEM, PROGRAMS[:3], 20_000, before.entries)
    assert set(ran) == {program.source for program in PROGRAMS[:2]}
    order = [PROGRAMS[2], PROGRAMS[0], PROGRAMS[1]]
    assert [entry.program for entry in after.entries] == [program.source for program in order]
    assert after.text.startswith(before.text[: before.text.index("Candidate 2")])


def test_every_program_runs_on_every_visible_call_and_on_nothing_else() -> None:
    signal = BUILDER.build(PROBLEM, PROGRAMS, 20_000)
    for entry in signal.entries:
        assert [trace.call for trace in entry.traces] == ["f(1)", "f(2)"]
    for value in ("77", "88", "99", "f(3)"):
        assert value not in signal.text


def test_setup_code_runs_before_the_program() -> None:
    problem = Problem(
        task_id="1",
        description="",
        entry_point="f",
        visible_tests=[AssertTest("assert f(1) == 1")],
        setup_code="import math",
    )
    [request] = trace_requests(problem, "def f(x):\n    return x")
    assert request.source == "import math\ndef f(x):\n    return x"


def test_programs_that_read_standard_input_run_on_the_visible_inputs() -> None:
    problem = Problem(
        task_id="1",
        description="",
        entry_point=None,
        visible_tests=[StdioTest("3\n", "secret\n")],
        scorer="stdio",
    )
    [request] = trace_requests(problem, "print(input())")
    assert (request.call, request.stdin) == (None, "3\n")
    signal = BUILDER.build(problem, [Program("print(input())", 1)], 20_000)
    assert "secret" not in signal.text


def test_without_visible_tests_there_is_no_signal() -> None:
    bare = Problem(task_id="1", description="", entry_point="f", visible_tests=())
    signal = BUILDER.build(bare, PROGRAMS, 20_000)
    assert (signal.text, signal.entries, signal.cut) == ("", (), False)
