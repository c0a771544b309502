"""What the page shows of one unit: its lines, candidates as a tree, values beside the source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import define, field, frozen

from egcfg.interfaces.scorer import TestStatus
from egcfg.interfaces.solution import LineStep, TokenChoice
from egcfg.interfaces.tracer import EventKind, Trace, Value
from egcfg.records.entries import VerdictEntry
from egcfg.records.lines import answer_decoding, code_lines
from egcfg.records.reading import UnitRecord
from egcfg.records.telling import Teller, ToldEvent, ToldProgram, ToldStep, told_event
from egcfg.runs.results import Result
from egcfg.sandbox.types import Outcome

__all__ = ["Branch", "Run", "StepView", "UnitView", "step_view", "unit_view", "watched"]

GIVING = (EventKind.RETURN, EventKind.YIELD)

VALUES_SHOWN = 4
"""Values of a variable on one line: the first ones and the last."""


@frozen(kw_only=True)
class Watched:
    """A line of a program in one run, as a debugger shows it.

    Attributes:
        number: of the line, from 1.
        source: its text.
        times: how often it ran.
        values: what it changed or gave, such as ``total = 1, 3, 6``.
        raised: the exception that it ended with; empty: none.
    """

    number: int
    source: str
    times: int
    values: tuple[str, ...]
    raised: str


@frozen(kw_only=True)
class Run:
    """One run of a program.

    Attributes:
        what: the call, or what standard input held.
        ended: how it ended: the value, or the exception.
        failed: whether it ended otherwise than by itself.
        lines: the program's lines.
        printed: standard output.
    """

    what: str
    ended: str
    failed: bool
    lines: tuple[Watched, ...]
    printed: str


@define
class Branch:
    """Lines that programs share, and where they part from there on.

    Attributes:
        lines: the lines.
        programs: those that end here.
        branches: how others go on.
    """

    lines: list[str] = field(factory=list)
    programs: list[ToldProgram] = field(factory=list)
    branches: list[Branch] = field(factory=list)


@frozen(kw_only=True)
class StepView:
    """A line as it was decided.

    Attributes:
        told: what is to be told of it.
        where: numbers of the program's lines that it wrote.
        parts: its text as a line of its own, in pieces, each with the token that guidance changed
            there, if it did.
        tree: the candidates' programs; None where no signal was made for this line.
        runs: what happened when those ran that are new, by the programs' numbers.
    """

    told: ToldStep
    where: tuple[int, ...]
    parts: tuple[tuple[str, TokenChoice | None], ...]
    tree: Branch | None
    runs: Mapping[int, tuple[Run, ...]]

    @property
    def changed(self) -> tuple[TokenChoice, ...]:
        """The tokens that guidance changed."""
        return tuple(choice for choice in self.told.step.tokens if choice.changed)


@frozen(kw_only=True)
class ShownTest:
    """The verdict of a test.

    Attributes:
        name: the test's.
        status: the verdict in a word.
        passed: whether it passed.
        error: what went wrong; empty: nothing.
        seen: whether the decoder saw the test.
    """

    name: str
    status: str
    passed: bool
    error: str
    seen: bool


@frozen(kw_only=True)
class UnitView:
    """A unit, as far as files tell of it.

    Attributes:
        result: its verdict.
        record: how it came about; None where that is not known, or is not shown.
        why_not: why it is not.
        steps: the lines of the decoding that the answer comes from.
        forced: the start of the response that no step decided.
        events: what a method did.
        tests: the verdicts of the tests that decided.
        visible: those of the visible tests, where others decided.
    """

    result: Result
    record: UnitRecord | None = None
    why_not: str = ""
    steps: tuple[StepView, ...] = ()
    forced: str = ""
    events: tuple[ToldEvent, ...] = ()
    tests: tuple[ShownTest, ...] = ()
    visible: tuple[ShownTest, ...] = ()


def unit_view(result: Result, record: UnitRecord | None, why_not: str = "") -> UnitView:
    """Return what to show of a unit.

    Args:
        result: its result.
        record: its record, if it has one.
        why_not: what to say where it has none.
    """
    tests = tuple(_tests(result))
    if record is None:
        return UnitView(result=result, why_not=why_not, tests=tests)
    decoding = answer_decoding(record)
    steps: list[StepView] = []
    forced = ""
    if decoding is not None:
        lines = code_lines(record, decoding)
        forced = record.decodings[decoding.decoding].response_prefix
        teller, indent = Teller(), ""
        for entry, step in record.steps():
            if entry.decoding == decoding.decoding:
                steps.append(step_view(teller.step(step), lines.get(step.index, []), indent))
                indent = _indent_after(step.text)
    return UnitView(
        result=result,
        record=record,
        steps=tuple(steps),
        forced=forced,
        events=tuple(
            told
            for entry in record.entries
            if not isinstance(entry, VerdictEntry) and (told := told_event(record, entry))
        ),
        tests=tests,
        visible=tuple(_visible_tests(record)),
    )


def _tests(result: Result) -> Iterator[ShownTest]:
    seen = set(result.tests_seen or ())
    for name, test in result.tests.items():
        yield ShownTest(
            name=name,
            status=test.status or ("passed" if test.passed else "failed"),
            passed=test.passed,
            error=test.error or "",
            seen=name in seen,
        )


def _visible_tests(record: UnitRecord) -> Iterator[ShownTest]:
    """Yield the verdicts of the visible tests on the answer, where others decided."""
    judged = record.verdicts
    if judged.visible == judged.scored:
        return
    for test in judged.visible:
        yield ShownTest(
            name=test.name,
            status=test.status.value,
            passed=test.status is TestStatus.PASSED,
            error=test.error or "",
            seen=True,
        )


def step_view(told: ToldStep, lines: Sequence[int], indent: str = "") -> StepView:
    """Return what to show of a step.

    Args:
        told: the step.
        lines: numbers of the program's lines that it wrote.
        indent: what the step before it wrote of its first line.
    """
    return StepView(
        told=told,
        where=tuple(lines),
        parts=tuple(_parts(told.step, indent)),
        tree=_branch([(each.entry.program.split("\n"), each) for each in told.programs])
        if told.programs
        else None,
        runs={
            each.number: tuple(map(watched, each.entry.traces))
            for each in told.programs
            if not each.before
        },
    )


def _parts(step: LineStep, indent: str) -> Iterator[tuple[str, TokenChoice | None]]:
    """Yield a step's text, cut where guidance changed a token, as a line of its own.

    Args:
        step: the step.
        indent: what the step before it wrote of its line.
    """
    yield indent, None
    end_of_line = len(step.text) - len(_indent_after(step.text))
    start = place = 0
    for choice in step.tokens:
        end = place + len(choice.text)
        if choice.changed and choice.text:
            yield step.text[start:place], None
            yield step.text[place:end], choice
            start = end
        place = end
    yield step.text[start:end_of_line].removesuffix("\n"), None


def _indent_after(text: str) -> str:
    """Return the blanks at a text's end that are the indent of the line after it."""
    _, newline, last = text.rpartition("\n")
    return last if newline and not last.strip() else ""


def _branch(programs: Sequence[tuple[list[str], ToldProgram]]) -> Branch:
    """Return programs, each with those of its lines that are left, as a tree of their lines."""
    shared = 0
    firsts = [lines for lines, _ in programs]
    while all(len(lines) > shared for lines in firsts) and (
        len({lines[shared] for lines in firsts}) == 1
    ):
        shared += 1
    branch = Branch(lines=firsts[0][:shared])
    groups: dict[str, list[tuple[list[str], ToldProgram]]] = {}
    for lines, told in programs:
        if len(lines) == shared:
            branch.programs.append(told)
        else:
            groups.setdefault(lines[shared], []).append((lines[shared:], told))
    branch.branches = [_branch(group) for group in groups.values()]
    return branch


def watched(trace: Trace) -> Run:
    """Return a run with, beside each line, what it changed."""
    source = trace.source.split("\n")
    times: dict[int, int] = {}
    values: dict[int, dict[str, list[str]]] = {}
    raised: dict[int, str] = {}
    at: dict[int, int] = {}  # the line that each activation is in
    for event in trace.events:
        line = at.get(event.activation, event.line)
        # What changed since the activation's last event was changed by the line that it was in.
        for name, value in {**event.delta, **event.globals}.items():
            if value.type == "function":
                continue  # its source is beside it
            values.setdefault(line, {}).setdefault(name, []).append(_text(value))
        if event.kind is EventKind.LINE or event.kind is EventKind.CALL:
            times[event.line] = times.get(event.line, 0) + 1
            at[event.activation] = event.line
        elif event.kind in GIVING and event.value is not None and event.depth > 1:
            given = values.setdefault(event.line, {})
            given.setdefault(event.kind.value, []).append(_text(event.value))
        if event.raised is not None:
            raised[event.line] = f"{event.raised.type}: {event.raised.message}"
    return Run(
        what=trace.call if trace.call is not None else f"stdin {trace.stdin!r}",
        ended=_ended(trace),
        failed=trace.outcome is not Outcome.OK,
        lines=tuple(
            Watched(
                number=number,
                source=text,
                times=times.get(number, 0),
                values=tuple(_told(values.get(number, {}))),
                raised=raised.get(number, ""),
            )
            for number, text in enumerate(source, start=1)
        ),
        printed=trace.stdout,
    )


def _text(value: Value) -> str:
    return ", ".join(value.changes) or value.text


def _told(values: Mapping[str, list[str]]) -> Iterator[str]:
    for name, texts in values.items():
        shown = texts
        if len(texts) > VALUES_SHOWN:
            shown = [*texts[: VALUES_SHOWN - 1], "…", texts[-1]]
        many = f"  ({len(texts)} times)" if len(texts) > VALUES_SHOWN else ""
        sign = " " if name in GIVING else " = "
        yield f"{name}{sign}{' → '.join(shown)}{many}"


def _ended(trace: Trace) -> str:
    if trace.raised is not None:
        return f"{trace.raised.type}: {trace.raised.message}"
    if trace.outcome is not Outcome.OK:
        return trace.outcome.value
    return "ended" if trace.result is None else trace.result.text
