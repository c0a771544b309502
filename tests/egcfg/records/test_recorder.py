"""A record tells what was done: each line as its caller saw it, and what a method did."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from egcfg.decoding.settings import DecodingSettings, Policies
from egcfg.interfaces.method import Attempt, Configuration, ProgramRun, Reply
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt, Prompt, TextPrompt
from egcfg.interfaces.scorer import Score, TestResult, TestStatus
from egcfg.interfaces.solution import LineStep
from egcfg.interfaces.tracer import EventKind, Trace, TraceEvent
from egcfg.records.entries import (
    AttemptEntry,
    CallEntry,
    DecodingEntry,
    GenerationEntry,
    NoteEntry,
    ProgramEntry,
    PromptEntry,
    RunEntry,
    UnitEntry,
    VerdictEntry,
)
from egcfg.records.reading import load_record
from egcfg.records.recorder import ALTERNATIVES, Recorder


def rounded(step: LineStep) -> LineStep:
    """Return a step as a record keeps its numbers."""
    return evolve(
        step,
        execution_seconds=round(step.execution_seconds, 4),
        usage={s: evolve(u, seconds=round(u.seconds, 4)) for s, u in step.usage.items()},
        tokens=tuple(
            evolve(
                token,
                logprob_unconditional=round(token.logprob_unconditional, 4),
                logprob_guided=round(token.logprob_guided, 4),
                logprob_conditional=token.logprob_conditional
                and round(token.logprob_conditional, 4),
                **{
                    name: tuple(
                        evolve(each, logprob=round(each.logprob, 4))
                        for each in getattr(token, name)
                    )
                    for name in ("likeliest_unconditional", "likeliest_conditional")
                },
            )
            for token in step.tokens
        ),
    )


def test_the_steps_of_a_record_are_those_that_were_decided(recorded: Any) -> None:
    told = [step for _, step in recorded.record.steps()]
    assert told == [rounded(step) for step in recorded.steps]
    assert sum(step.signal is not None and bool(step.signal.entries) for step in told) > 2


def test_each_guided_token_has_the_likeliest_ones_of_both_distributions(recorded: Any) -> None:
    guided = [step for step in recorded.steps if step.signal is not None]
    tokens = [token for step in guided for token in step.tokens if token.likeliest_conditional]
    assert len(tokens) > 50
    for token in tokens:
        for likeliest in (token.likeliest_unconditional, token.likeliest_conditional):
            assert len(likeliest) == ALTERNATIVES
            values = [each.logprob for each in likeliest]
            assert values == sorted(values, reverse=True)
        assert token.likeliest_unconditional[0].text == token.unconditional_text
        of_token = [a for a in token.likeliest_conditional if a.text == token.text]
        assert [a.logprob for a in of_token] == pytest.approx([token.logprob_conditional])


def test_a_token_that_nothing_guided_has_one_list(solve_recorded: Callable[..., Any]) -> None:
    unguided = solve_recorded(gamma=0.0)
    tokens = [token for step in unguided.steps for token in step.tokens]
    assert tokens
    assert {len(token.likeliest_unconditional) for token in tokens} == {ALTERNATIVES}
    assert {token.likeliest_conditional for token in tokens} == {()}
    assert {token.logprob_conditional for token in tokens} == {None}


def test_nobody_who_does_not_record_pays_for_lists(recorded: Any) -> None:
    """The recorder alone asks for them; without one, steps have none."""
    from egcfg.interfaces.solution import TokenChoice

    choice = TokenChoice(
        id=1,
        text="a",
        unconditional_id=1,
        unconditional_text="a",
        logprob_unconditional=-1.0,
        logprob_guided=-1.0,
    )
    assert choice.likeliest_unconditional == ()
    assert recorded.steps[0].tokens[0].likeliest_unconditional != ()


def test_the_record_has_prompt_decoding_generation_answer_and_verdicts(recorded: Any) -> None:
    record, solution = recorded.record, recorded.solution
    [prompt] = record.of_kind(PromptEntry)
    assert "Add up the numbers." in prompt.messages[-1].content
    [decoding] = record.of_kind(DecodingEntry)
    assert decoding.settings["gamma"] == 1.0
    [generation] = record.of_kind(GenerationEntry)
    assert generation.generation.code == solution.code
    assert generation.generation.ids == solution.generation.ids
    [attempt] = record.of_kind(AttemptEntry)
    assert (attempt.program, attempt.decoding) == (solution.code, 0)
    assert attempt.tokens == solution.attempts[0].tokens
    [verdicts] = record.of_kind(VerdictEntry)
    assert [test.status for test in verdicts.visible] == [TestStatus.PASSED] * 2
    assert [test.name for test in verdicts.scored] == ["assert f([5, 6, 7]) == 18"]
    assert solution.passed


def test_a_program_and_a_signal_are_told_once(recorded: Any) -> None:
    record = recorded.record
    programs = [(each.source, len(each.traces)) for each in record.of_kind(ProgramEntry)]
    assert len(programs) == len(set(programs))
    shown = [each.program for signal in record.signals for each in signal.entries]
    assert len(shown) > len(programs)


def test_equal_work_gives_equal_bytes() -> None:
    def content() -> bytes:
        recorder = Recorder(UnitEntry(task_id="t"))
        recorder.note("event", {"number": 1})
        return recorder.content()

    assert content() == content()


def test_what_a_method_asks_runs_notes_and_answers_is_told() -> None:
    recorder = Recorder(UnitEntry(task_id="t", method="own"))
    chat = ChatPrompt((ChatMessage("user", "Why?"),), "Because")
    reply = Reply(text=" of that", finished=True)
    recorder.call("ask", chat, 0.5, 60, [reply], "t")
    recorder.call("ask", TextPrompt(("What", "?")), 0.0, 60, [], "t")
    recorder.call("ask", chat, 0.5, 60, [reply], "t")
    failed = TestResult(name="assert f(1)", status=TestStatus.FAILED, seconds=0.1, error="it is 0")
    run = ProgramRun(program="def f(x): return 0", results=(failed,), outcomes=("gave 0",))
    recorder.runs([run], "t", own_tests=True)
    recorder.note("odd", {"why": "no", "what": object(), "share": math.nan})
    recorder.attempt(Attempt(program=run.program, stage="repair"), 70, 0.0)
    recorder.verdicts(run.program, Score(results=(failed,)), Score(results=(), general_error="no"))
    record = load_record(recorder.content())

    assert [entry.prompt for entry in record.of_kind(CallEntry)] == [0, 1, 0]
    assert record.of_kind(CallEntry)[0].replies == (reply,)
    assert record.prompts[0].messages == chat.messages
    assert record.prompts[0].prefix == "Because"
    assert record.prompts[1].text == "What?"
    [told] = record.of_kind(RunEntry)
    assert (told.results, told.outcomes, told.own_tests) == ((failed,), ("gave 0",), True)
    assert record.programs[told.program].source == run.program
    [note] = record.of_kind(NoteEntry)
    assert note.facts == {"why": "no", "what": "object", "share": "float"}
    [answer] = record.of_kind(AttemptEntry)
    assert (answer.stage, answer.tokens, answer.share, answer.decoding) == ("repair", 70, 0.0, None)
    [verdicts] = record.of_kind(VerdictEntry)
    assert (verdicts.visible, verdicts.general_error) == ((failed,), "no")


def test_an_attempt_names_the_decoding_that_made_it(recorded: Any) -> None:
    """A method that keeps the best of several answers with an earlier one."""
    [begun] = recorded.record.of_kind(DecodingEntry)
    [ended] = recorded.record.of_kind(GenerationEntry)
    better = ended.generation
    worse = evolve(better, response="pass", code="pass")
    settings = DecodingSettings(gamma=begun.settings["gamma"])
    recorder = Recorder(UnitEntry(task_id="t"))
    for generation in (better, worse):
        number = recorder.decoding(
            Configuration(settings=settings), Prompt(before="Do it.", after=""), Policies(), "t"
        )
        recorder.decoded(number, generation)
        attempt = Attempt(program=better.code, stage="decode", generation=better)
        recorder.attempt(attempt, 9, 1.0)
    recorder.attempt(Attempt(program="x", stage="ask"), 9, 1.0)
    attempts = load_record(recorder.content()).of_kind(AttemptEntry)
    assert [each.decoding for each in attempts] == [0, 0, None]


def test_lone_surrogates_and_huge_numbers_are_kept() -> None:
    recorder = Recorder(UnitEntry(task_id="t"))
    recorder.note("odd \ud800", {"number": 1 << 80})
    [note] = load_record(recorder.content()).of_kind(NoteEntry)
    assert (note.event, note.facts) == ("odd \ud800", {"number": 1 << 80})


def test_what_is_beyond_the_largest_size_is_counted() -> None:
    import random

    recorder = Recorder(UnitEntry(task_id="t"), largest=2000)
    noise = random.Random(1).randbytes(40_000).hex()
    for _ in range(5):
        recorder.note("large", {"noise": noise})
    record = load_record(recorder.content())
    assert 0 < record.dropped < 5
    assert len(record.of_kind(NoteEntry)) == 5 - record.dropped


def test_of_a_long_trace_the_ends_are_kept() -> None:
    events = [
        TraceEvent(
            index=n, kind=EventKind.LINE, activation=1, depth=2, function="f", line=1 + n % 3
        )
        for n in range(5000)
    ]
    trace = Trace(source="def f(): ...", call="f()", events=events)
    recorder = Recorder(UnitEntry(task_id="t"))
    run = ProgramRun(program=trace.source, results=(), outcomes=(), traces=(trace,))
    recorder.runs([run], "t", own_tests=False)
    [kept] = load_record(recorder.content()).traces[0]
    assert [kept.events[0].index, kept.events[-1].index] == [0, 4999]
    assert kept.cut
    assert len(kept.events) < 500
    assert (kept.source, kept.call) == (trace.source, trace.call)


def test_a_record_is_json_lines_of_known_kinds(recorded: Any) -> None:
    lines = [json.loads(line) for line in gzip.decompress(recorded.content).splitlines()]
    assert lines[0]["kind"] == "unit"
    assert lines[0]["format"] == "egcfg-record-1"
    assert lines[-1] == {"kind": "end"}
    assert {line["kind"] for line in lines} == {
        *("unit", "prompt", "decoding", "program", "signal", "step", "generation"),
        *("attempt", "verdicts", "end"),
    }
