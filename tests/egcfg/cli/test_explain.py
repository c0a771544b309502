"""The account of a decoding: nothing is said twice, and nothing that drives a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from egcfg.cli.explain import Explainer
from egcfg.interfaces.solution import (
    Alternative,
    LineStep,
    Signal,
    SignalEntry,
    TokenChoice,
)
from egcfg.interfaces.tracer import Trace, Tracer
from egcfg.sandbox.types import Outcome


class Words(Tracer):
    """Says what a trace printed."""

    async def trace(self, requests: Any, sandbox: Any) -> list[Trace]:  # noqa: ARG002
        raise AssertionError("nothing is run")

    def render(self, trace: Trace, max_chars: int) -> str:  # noqa: ARG002
        return trace.stdout


def entry(program: str, printed: str = "9", *, outcome: Outcome = Outcome.OK) -> SignalEntry:
    trace = Trace(source=program, call="f(3)", stdout=printed, outcome=outcome)
    return SignalEntry(program=program, samples=1, traces=(trace,))


def step(index: int, *entries: SignalEntry, fresh: bool = True, **changes: Any) -> LineStep:
    signal = Signal(entries=entries, text="", tokens=7)
    values = {"in_code": True, "text": "x\n", "tokens": (), "signal": signal, "fresh": fresh}
    return LineStep(index=index, **values | changes)


def account(steps: Sequence[LineStep], prefix: str = "") -> list[str]:
    explainer = Explainer(Words(), prefix)
    return [line.plain for each in steps for line in explainer.lines(each)]


def test_a_program_is_shown_once() -> None:
    told = account([step(0, entry("a\nb")), step(1, entry("c"), entry("a\nb"))])
    assert told.count("    | a") == 1
    assert "  program 2 (1 candidate): program 1 of step 0" in told


def test_lines_that_programs_share_are_counted() -> None:
    told = account([step(0, entry("a\nb\nc\nd"), entry("a\nb\nc\ne"), entry("a\nz"))])
    first, second = (told.index(f"  program {n} (1 candidate)") for n in (1, 2))
    assert told[first + 1 : first + 5] == ["    | a", "    | b", "    | c", "    | d"]
    assert told[second + 1 : second + 3] == ["    | ... 3 lines as above", "    | e"]
    assert told[-4:-2] == ["    | a", "    | z"]  # too few to be worth it


def test_a_program_that_is_all_of_another_is_told_by_it() -> None:
    told = account([step(0, entry("a\nb\nc\nd"), entry("a\nb\nc"))])
    assert told[-3] == "    | ... 3 lines as above"


def test_runs_that_go_as_before_are_told_so() -> None:
    told = account([step(0, entry("a"), entry("b"), entry("c", "8"), entry("d", "9"))])
    assert [line for line in told if "f(3)" in line] == [
        *("    f(3): ok", "    f(3): ok, as before", "    f(3): ok", "    f(3): ok"),
    ]


def test_a_signal_that_stays_is_told_so() -> None:
    told = account([step(0, entry("a")), step(1, entry("a"), fresh=False)])
    assert told[-2:] == ["  signal: as before", "  decided | x"]


def test_what_the_prompt_forces_comes_first() -> None:
    assert account([step(0)], "```python\n")[:2] == ["  forced  | ```python", "--- step 0 (code)"]


def test_a_changed_token_has_both_lists() -> None:
    choice = TokenChoice(
        id=1,
        text="\x1b",
        unconditional_id=2,
        unconditional_text="-",
        logprob_unconditional=-2.0,
        logprob_guided=-0.5,
        logprob_conditional=-0.25,
        likeliest_unconditional=(Alternative(text="-", logprob=-0.1),),
        likeliest_conditional=(Alternative(text="\x1b", logprob=-0.25),),
    )
    told = account([step(0, text="\x1b\u202e\n", tokens=(choice,), decisions=("gate: \x07",))])
    assert told[1:] == [
        "  signal: no candidate could be executed",
        "  policy gate: \\x07",
        "  guidance chose '\\x1b' over '-'",
        "    log-probability -2.00 without the signal, -0.25 with it, -0.50 guided",
        "    without: '-' -0.10",
        "    with it: '\\x1b' -0.25",
        "  decided | \\x1b\\u202e",
    ]


@pytest.mark.parametrize(("outcome", "style"), [(Outcome.OK, "green"), (Outcome.TIMEOUT, "red")])
def test_runs_that_failed_stand_out(outcome: Outcome, style: str) -> None:
    lines = Explainer(Words()).lines(step(0, entry("a", outcome=outcome)))
    assert [line.style for line in lines if "f(3)" in line.plain] == [style]
