"""From programs to the text of a signal: what is run, what is told, and in how many tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from egcfg.decoding.code import CandidateProgram
from egcfg.decoding.feedback import Feedback, SignalText
from egcfg.errors import PluginError
from egcfg.interfaces.problem import AssertTest, Problem, StdioTest
from egcfg.interfaces.solution import Signal, SignalEntry
from egcfg.interfaces.tracer import Trace, Tracer, TraceRequest
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.sandbox import Sandbox
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg.usage.model import Model
from egcfg_tracers.tracers import FullTracer

Run = Callable[[Coroutine[Any, Any, Any]], Any]

PROBLEM = Problem(
    task_id="1",
    description="",
    entry_point="f",
    visible_tests=[AssertTest("assert f(1) == 77"), AssertTest("assert f(2) == 88")],
    hidden_tests=[AssertTest("assert f(3) == 99")],
)
PROGRAMS = [CandidateProgram(f"def f(x):\n    return x + {n}", samples=1) for n in range(4)]


@frozen
class LongTracer(Tracer):
    """Always has more to say than fits."""

    @frozen
    class Options:
        """None."""

    async def trace(self, requests: Sequence[TraceRequest], sandbox: Sandbox) -> list[Trace]:  # noqa: ARG002
        return [Trace(source=r.source, call=r.call, stdin=r.stdin) for r in requests]

    def render(self, trace: Trace, max_chars: int) -> str:
        return (f"{trace.source[-1]}{trace.call}" * max_chars)[:max_chars]


def feedback(tracer: Tracer | None = None) -> Feedback:
    """Return feedback on a model whose tokens are characters."""
    backend = ScriptedBackend(ScriptedOptions(script=lambda _: ""))
    model = Model(OpenComponent(Kind.BACKEND, backend, "the backend"), PROBLEM.task_id)
    component = OpenComponent(Kind.TRACER, tracer or LongTracer(), "the tracer 'long' of mine 1.0")
    return Feedback(component, Sandbox(), model)


@pytest.fixture(scope="module")
def make(run: Run) -> Callable[..., Signal]:
    """Make a signal by the long tracer."""

    def make_one(
        programs: Sequence[CandidateProgram],
        budget: int = 20_000,
        known: Sequence[SignalEntry] = (),
        problem: Problem = PROBLEM,
        tracer: Tracer | None = None,
    ) -> Signal:
        signal: Signal = run(feedback(tracer).signal(problem, programs, budget, known))
        return signal

    return make_one


# --- what is run, and how much is told ----------------------------------------------------------


@given(budget=st.integers(0, 20_000), programs=st.integers(0, 4))
def test_the_text_stays_within_its_budget(
    make: Callable[..., Signal], budget: int, programs: int
) -> None:
    signal = make(PROGRAMS[:programs], budget)
    assert len(signal.text) == signal.tokens <= budget
    assert len(signal.entries) == programs
    shown = [entry for entry in signal.entries if entry.shown]
    assert all(entry.program in signal.text for entry in shown)
    whole = make(PROGRAMS[:programs])
    assert signal.cut == (signal.text != whole.text)


def test_traces_are_shortened_before_a_program_is_dropped(make: Callable[..., Signal]) -> None:
    whole = make(PROGRAMS)
    tight = make(PROGRAMS, 3_000)
    tiny = make(PROGRAMS, 500)
    assert not whole.cut
    assert make(PROGRAMS, whole.tokens - 1).cut
    assert tight.cut
    assert all(entry.shown for entry in tight.entries)
    assert [entry.shown for entry in tiny.entries] == [True, False, False, False]


def test_what_a_context_has_no_room_for_goes_from_the_oldest_candidate_on(
    make: Callable[..., Signal], run: Run
) -> None:
    whole = make(PROGRAMS)
    one_less = run(feedback().shorten(whole, whole.tokens - 1))
    assert [entry.shown for entry in one_less.entries] == [False, True, True, True]
    tiny = run(feedback().shorten(whole, 500))
    assert [entry.shown for entry in tiny.entries] == [False, False, False, True]
    assert PROGRAMS[3].source in tiny.text
    nothing = run(feedback().shorten(whole, 0))
    assert (nothing.text, len(nothing.entries)) == ("", 4)
    assert all(signal.cut for signal in (one_less, tiny, nothing))


def test_both_sides_of_a_contrast_are_shortened(run: Run, make: Callable[..., Signal]) -> None:
    better, worse = make(PROGRAMS[:1]), make(PROGRAMS[1:])
    both = evolve(better, against=worse)
    fitted = run(feedback().shorten(both, better.tokens))
    assert fitted.text == better.text
    assert fitted.against is not None
    assert 0 < fitted.against.tokens <= better.tokens < worse.tokens
    assert fitted.cut
    assert fitted.longest <= better.tokens
    assert [each.program for each in fitted.all_entries] == [each.source for each in PROGRAMS]


@pytest.mark.parametrize("longer", ["better", "worse"])
def test_a_side_without_room_leaves_the_other_alone(
    run: Run, make: Callable[..., Signal], longer: str
) -> None:
    long = CandidateProgram(PROGRAMS[0].source + "  # and so on" * 100, samples=1)
    sides = {"better": PROGRAMS[1], "worse": PROGRAMS[2], longer: long}
    both = evolve(make([sides["better"]]), against=make([sides["worse"]]))
    fitted = run(feedback().shorten(both, 500))
    assert fitted.against is None
    assert 0 < fitted.tokens <= 500
    assert fitted.away is (longer == "better")
    shown = [each.program for each in fitted.entries if each.shown]
    assert shown == [sides["worse" if longer == "better" else "better"].source]
    assert len(fitted.entries) == 2


def test_what_ran_before_is_not_run_again_and_comes_first(make: Callable[..., Signal]) -> None:
    before = make(PROGRAMS[2:])
    ran: list[str] = []

    class Watched(LongTracer):
        async def trace(self, requests: Sequence[TraceRequest], sandbox: Sandbox) -> list[Trace]:
            ran.extend(request.source for request in requests)
            return await super().trace(requests, sandbox)

    after = make(PROGRAMS[:3], known=before.entries, tracer=Watched())
    assert set(ran) == {program.source for program in PROGRAMS[:2]}
    order = [PROGRAMS[2], PROGRAMS[0], PROGRAMS[1]]
    assert [entry.program for entry in after.entries] == [program.source for program in order]
    assert after.text.startswith(before.text[: before.text.index("Candidate 2")])


def test_every_program_runs_on_every_visible_call_and_on_nothing_else(
    make: Callable[..., Signal],
) -> None:
    signal = make(PROGRAMS)
    for entry in signal.entries:
        assert [trace.call for trace in entry.traces] == ["f(1)", "f(2)"]
    for value in ("77", "88", "99", "f(3)"):
        assert value not in signal.text


def test_programs_that_read_standard_input_run_on_the_visible_inputs(
    make: Callable[..., Signal],
) -> None:
    problem = Problem(
        task_id="1",
        description="",
        entry_point=None,
        visible_tests=[StdioTest("3\n", "secret\n")],
        scorer="stdio",
    )
    signal = make([CandidateProgram("print(input())", 1)], problem=problem)
    assert [(trace.call, trace.stdin) for trace in signal.entries[0].traces] == [(None, "3\n")]
    assert "secret" not in signal.text


def test_without_visible_tests_there_is_no_signal(make: Callable[..., Signal]) -> None:
    bare = Problem(task_id="1", description="", entry_point="f", visible_tests=())
    signal = make(PROGRAMS, problem=bare)
    assert (signal.text, signal.entries, signal.cut) == ("", (), False)


# --- a tracer that answers wrongly --------------------------------------------------------------


class Odd(LongTracer):
    """Answers what it is told to answer."""

    def __init__(self, traces: object, text: object = "text") -> None:
        object.__setattr__(self, "traces", traces)
        object.__setattr__(self, "text", text)

    async def trace(self, requests: Sequence[TraceRequest], sandbox: Sandbox) -> Any:
        answer = self.traces
        return answer(await super().trace(requests, sandbox)) if callable(answer) else answer

    def render(self, trace: Trace, max_chars: int) -> Any:  # noqa: ARG002
        return self.text


def raises(_: object) -> None:
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("tracer", "said"),
    [
        (Odd(lambda traces: traces[1:]), "trace gave 1 for 2 requests, not one trace each"),
        (Odd(lambda traces: traces * 2), "trace gave 4 for 2 requests, not one trace each"),
        (Odd(None), "trace gave NoneType for 2 requests, not one trace each"),
        (Odd(iter), "trace gave list_iterator for 2 requests, not one trace each"),
        (Odd(["text", None]), "trace gave something else than a Trace"),
        (Odd(raises), "trace raised ZeroDivisionError: division by zero"),
        (Odd(list, None), "render gave NoneType, not text"),
        (Odd(list, b"text"), "render gave bytes, not text"),
    ],
)
def test_a_tracer_that_answers_wrongly_is_named_with_its_task(
    make: Callable[..., Signal], tracer: Tracer, said: str
) -> None:
    with pytest.raises(PluginError) as caught:
        make(PROGRAMS[:1], tracer=tracer)
    assert str(caught.value) == (
        f"the tracer 'long' of mine 1.0 is broken on task 1: {said}; report it to its authors"
    )


# --- the text -----------------------------------------------------------------------------------

LINES = st.lists(st.sampled_from(["L2 " + "a" * 50, "L3 b=2", "result 3"]), max_size=7)
RUNS = st.integers(1, 3).flatmap(
    lambda runs: st.lists(st.lists(LINES, min_size=runs, max_size=runs), min_size=1, max_size=4)
)
SHARED = re.compile(r"Run (\d+): as (candidate|run) (\d+) for (\d+) lines, then")
ALIKE = re.compile(r"Runs? (\d+)(?: to (\d+))?: as (candidate|run) (\d+)")


def entries(runs: Sequence[Sequence[Sequence[str]]]) -> list[SignalEntry]:
    return [
        SignalEntry(
            program=f"def f(x): return {number}",
            samples=1,
            traces=tuple(
                Trace(source="", call=f"f({run})", stdout="\n".join(lines))
                for run, lines in enumerate(of_entry)
            ),
        )
        for number, of_entry in enumerate(runs)
    ]


def whole(trace: Trace, max_chars: int) -> str:  # noqa: ARG001 - there is always room
    return f"{trace.call}\n{trace.stdout}".rstrip()


def cut(trace: Trace, max_chars: int) -> str:
    text = whole(trace, max_chars)
    return text if len(text) <= max_chars else f"{text[: max_chars - 3]}..."


def read_back(text: str) -> list[list[list[str]]]:
    """Return the lines of every run of every candidate, what is referred to put in its place."""
    found: list[list[list[str]]] = []

    def model(kind: str, number: str, run: int) -> list[str]:
        if kind == "run":
            return found[-1][int(number) - 1]
        return found[int(number) - 1][run - 1]

    for part in text.split("\nCandidate ")[1:]:
        found.append(runs := [])
        for line in part.split("```\n", 1)[1].splitlines():
            if match := SHARED.fullmatch(line):
                run, kind, number, count = match.groups()
                runs.append(model(kind, number, int(run))[: int(count) - 1])
            elif match := ALIKE.fullmatch(line):
                first, last, kind, number = match.groups()
                which = range(int(first), int(last or first) + 1)
                runs += [model(kind, number, run) for run in which]
            elif re.fullmatch(r"Run \d+", line):
                runs.append([])
            elif line:
                runs[-1].append(line)
    return found


@given(RUNS)
def test_everything_that_is_left_out_can_be_read_in_its_place(
    runs: list[list[list[str]]],
) -> None:
    assert read_back(SignalText(entries(runs), whole, 2000).text(len(runs), 2000)) == runs


@given(RUNS, st.integers(1, 4))
def test_the_text_of_the_first_candidates_does_not_hang_on_the_others(
    runs: list[list[list[str]]], shown: int
) -> None:
    shown = min(shown, len(runs))
    fewer = SignalText(entries(runs[:shown]), whole, 2000).text(shown, 2000)
    assert SignalText(entries(runs), whole, 2000).text(len(runs), 2000).startswith(fewer)
    assert SignalText(entries(runs), whole, 2000).text(shown, 2000) == fewer


def test_runs_that_are_alike_are_told_together() -> None:
    one, two, other = ["L2 a=1", "result 1"], ["L2 a=2", "result 2"], ["raised E"]
    text = SignalText(entries([[one, two, one], [one, two, other]]), whole, 2000).text(2, 2000)
    assert text.endswith("```\nRuns 1 to 2: as candidate 1\nRun 3\nraised E\n")
    assert "Run 2\nL2 a=2\nresult 2\nRun 3: as run 1\n" in text


def test_a_run_that_begins_as_an_earlier_one_tells_only_what_comes_then() -> None:
    start = ["L2 a=1", "L3 b=2", "L4 c=[1, 2, 3, 4, 5, 6, 7]"]
    text = SignalText(entries([[[*start, "result 1"]], [[*start, "result 2"]]]), whole, 2000)
    assert text.text(2, 2000).endswith("```\nRun 1: as candidate 1 for 4 lines, then\nresult 2\n")


def test_a_beginning_that_is_shorter_than_a_reference_to_it_is_told() -> None:
    text = SignalText(entries([[["L2 a=1", "result 1"], ["L2 a=1", "result 2"]]]), whole, 2000)
    assert text.text(1, 2000).endswith("Run 2\nL2 a=1\nresult 2\n")


def test_the_code_so_far_is_referred_to_by_its_name() -> None:
    so_far, candidate = entries([[["result 1"]], [["result 1"]]])
    so_far = evolve(so_far, program="p", samples=0)
    text = SignalText([so_far, candidate], whole, 2000).text(2, 2000)
    assert "\nThe code so far:\n```python\np\n```\nRun 1\nresult 1\n" in text
    assert text.endswith("Run 1: as the code so far\n")


def test_runs_that_look_alike_only_because_they_are_cut_are_not_called_alike() -> None:
    start = ["L2 a=1", "L3 b=2", "L4 c=3"]
    runs = [[[*start, "result " + "1" * 90]], [[*start, "result " + "1" * 80]]]
    text = SignalText(entries(runs), cut, 2000).text(2, 60)
    assert "as candidate 1\n" not in text
    assert text.count("result 11") == 2


def test_setup_code_runs_apart_so_that_lines_and_first_statement_are_the_programs_own(
    run: Run,
) -> None:
    problem = evolve(PROBLEM, setup_code="import math\n\nBASE = math.floor(40.5)")
    source = (
        "from __future__ import annotations\n"
        "def f(x: undefined) -> int:\n    y = x + BASE\n    return y\n"
    )
    with closing(Sandbox()) as sandbox:
        made = evolve(feedback(FullTracer()), sandbox=sandbox)
        signal = run(made.signal(problem, [CandidateProgram(source, samples=1)], 20_000))
    assert "SyntaxError" not in signal.text
    assert "L3 y = x + BASE -> y=41" in signal.text
    assert "BASE = math" not in signal.text


def test_the_fence_around_a_program_is_longer_than_any_in_it() -> None:
    [entry] = entries([[["result 1"]]])
    program = "def f():\n    return '```\\n````'"
    text = SignalText([evolve(entry, program=program)], whole, 2000).text(1, 2000)
    assert f"`````python\n{program}\n`````\n" in text
