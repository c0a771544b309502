"""What is to be told of a step or an event, in the words of the terminal and of the page alike.

No program of a decoding is told twice: one that an earlier step has shown is named by it.
"""

from __future__ import annotations

from attrs import define, field, frozen

from egcfg.interfaces.scorer import TestResult, TestStatus
from egcfg.interfaces.solution import LineStep, Signal, SignalEntry
from egcfg.records.entries import (
    AttemptEntry,
    CallEntry,
    DecodingEntry,
    Entry,
    NoteEntry,
    RunEntry,
    VerdictEntry,
)
from egcfg.records.reading import UnitRecord
from egcfg.sandbox.types import Outcome

__all__ = ["Teller", "ToldEvent", "ToldProgram", "ToldStep", "told_event"]


@frozen(kw_only=True)
class ToldProgram:
    """A program of a signal.

    Attributes:
        number: among the signal's programs, from 1.
        name: the number, which candidates led to it, and what became of it.
        entry: the program and its runs.
        failed: whether a run ended in failure, or a visible test did.
        before: the step that has shown it already, and its number there; empty: it is new.
    """

    number: int
    name: str
    entry: SignalEntry
    failed: bool
    before: str


@frozen(kw_only=True)
class ToldStep:
    """A line as it was decided.

    Attributes:
        step: the step.
        signal: what is to be said of its signal; empty where nothing guided.
        programs: those of the signal, where it was made for this line.
    """

    step: LineStep
    signal: str = ""
    programs: tuple[ToldProgram, ...] = ()


@frozen(kw_only=True)
class ToldEvent:
    """What was done besides deciding lines.

    Attributes:
        title: in a few words.
        texts: answers or programs.
        tests: verdicts.
        error: what went wrong; None: nothing.
    """

    title: str
    texts: tuple[str, ...] = ()
    tests: tuple[TestResult, ...] = ()
    error: str | None = None


@define
class Teller:
    """Tells the steps of a decoding, one after the other."""

    _seen: dict[tuple[object, ...], str] = field(factory=dict, init=False)

    def step(self, step: LineStep) -> ToldStep:
        """Return what is to be told of the next step."""
        if step.signal is None:
            return ToldStep(step=step)
        if not step.fresh:
            return ToldStep(step=step, signal="as before")
        entries = step.signal.all_entries
        programs = tuple(self._program(n, each, step) for n, each in enumerate(entries, start=1))
        return ToldStep(step=step, signal=_signal_words(step.signal), programs=programs)

    def _program(self, number: int, entry: SignalEntry, step: LineStep) -> ToldProgram:
        here = f"program {number} of step {step.index}"
        before = self._seen.setdefault(entry.ran, here)
        origin = _counted(entry.samples, "candidate") if entry.samples else "the solution so far"
        share = "" if entry.share is None else f", {entry.share:.0%} of the visible tests passed"
        shown = "" if entry.shown else ", not shown to the model"
        failed = any(trace.outcome is not Outcome.OK for trace in entry.traces)
        return ToldProgram(
            number=number,
            name=f"program {number} ({origin}{shown}{share})",
            entry=entry,
            failed=failed or (entry.share is not None and entry.share < 1),
            before="" if before == here else before,
        )


def told_event(record: UnitRecord, entry: Entry) -> ToldEvent | None:
    """Return what is to be told of a line of a record that is no step's; None: nothing is."""
    match entry:
        case DecodingEntry(settings=settings, policies=policies):
            strength = settings.get("gamma", 0.0)
            told = "".join(f", {name} {value}" for name, value in policies.items())
            return ToldEvent(title=f"decoding at gamma {strength:g}{told}{_of(entry.task_id)}")
        case CallEntry(stage=stage, temperature=temperature, replies=replies):
            return ToldEvent(
                title=f"asked the model ({stage}, temperature {temperature:g}){_of(entry.task_id)}",
                texts=tuple(reply.text for reply in replies),
            )
        case RunEntry(program=number, results=results, own_tests=own_tests):
            which = "tests of the method" if own_tests else "the visible tests"
            passed = sum(result.status is TestStatus.PASSED for result in results)
            told = f": {passed} of {len(results)} passed" if results else ""
            return ToldEvent(
                title=f"ran a program on {which}{told}{_of(entry.task_id)}",
                texts=(record.programs[number].source,),
                tests=results,
            )
        case NoteEntry(event=event, facts=facts):
            told = "".join(f", {name}: {value}" for name, value in facts.items())
            return ToldEvent(title=f"noted {event}{told}")
        case AttemptEntry(stage=stage, tokens=tokens, program=program, decoding=decoding):
            texts = (program,) if decoding is None else ()
            return ToldEvent(title=f"answer ({stage}), after {tokens} tokens", texts=texts)
        case VerdictEntry(scored=scored, general_error=error):
            return ToldEvent(title="verdicts", tests=scored, error=error)
        case _:
            return None


def _signal_words(signal: Signal) -> str:
    if not signal.all_entries:
        return "no candidate could be executed"
    cut = ", shortened to fit" * signal.cut
    away = ", to lead away from" * signal.away
    words = f"{_counted(len(signal.all_entries), 'program')}, {signal.tokens} tokens{cut}{away}"
    if signal.against is None:
        return words
    return f"{words}; the last {len(signal.against.entries)} to lead away from"


def _of(task_id: str | None) -> str:
    return "" if task_id is None else f", of another task ({task_id})"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
