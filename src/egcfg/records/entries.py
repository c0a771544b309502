"""The lines of a record: one attrs class per kind, which are the form's only definition.

A record is JSON lines under gzip (RFC 1952). Each line is one object: ``kind`` names its class in
`KINDS`, the other keys are the fields of that class, and those at their defaults are left out.
Lines are in order of time; whatever is used again (a prompt, a program, a signal) has a line of its
own before its first use, and a number from 0 among its kind. ``docs/records.md`` is the guide.

Text in a record comes from models and programs: escape it before a terminal or a page shows it.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import cattrs
from attrs import asdict, evolve, field, frozen

from egcfg.interfaces.method import Reply
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt, TextPrompt
from egcfg.interfaces.scorer import TestResult
from egcfg.interfaces.solution import Generation, TokenChoice
from egcfg.interfaces.tracer import Trace
from egcfg.interfaces.usage import Usage

__all__ = [
    "FORMAT",
    "KINDS",
    "AttemptEntry",
    "CallEntry",
    "DecodingEntry",
    "EndEntry",
    "Entry",
    "GenerationEntry",
    "NoteEntry",
    "ProgramEntry",
    "PromptEntry",
    "RunEntry",
    "ShownProgram",
    "SignalEntries",
    "StepEntry",
    "UnitEntry",
    "VerdictEntry",
    "from_json",
    "plain",
    "shortened",
    "to_json",
]

FORMAT: Final = "egcfg-record-1"
"""Name and version of the form; it changes when a reader of the old one would be misled."""

HEAD_EVENTS, TAIL_EVENTS = 300, 100
"""Events kept of one trace: a loop that turns a thousand times is told by its ends."""

DIGITS = 4
"""Decimals of a log-probability or a time."""


@frozen(kw_only=True)
class UnitEntry:
    """The first line: which unit this is.

    Attributes:
        format: `FORMAT`.
        task_id: the task's.
        description: the task in words.
        entry_point: the function that is asked for; None: a whole program.
        given_code: code that was given with the task.
        tests_seen: names of the visible tests.
        config: the configuration's name, as its results folder has it.
        gamma: guidance strength; None where a whole method is the unit.
        method: the method.
        tracer: the tracer, which renders traces as the model saw them.
    """

    format: str = FORMAT
    task_id: str
    description: str = ""
    entry_point: str | None = None
    given_code: str = ""
    tests_seen: tuple[str, ...] = ()
    config: str = ""
    gamma: float | None = None
    method: str = "egcfg"
    tracer: str = "full"


@frozen(kw_only=True)
class PromptEntry:
    """A prompt that the model was asked with.

    Attributes:
        messages: of a chat; empty where the prompt is plain text.
        text: the prompt where it is plain text, its beginning of the answer included.
        prefix: what the answer of a chat was made to start with.
    """

    messages: tuple[ChatMessage, ...] = ()
    text: str = ""
    prefix: str = ""

    @classmethod
    def of(cls, prompt: TextPrompt | ChatPrompt) -> PromptEntry:
        """Return the line of a prompt."""
        if isinstance(prompt, ChatPrompt):
            return cls(messages=prompt.messages, prefix=prompt.assistant_prefix)
        return cls(text=prompt.text)


@frozen(kw_only=True)
class DecodingEntry:
    """A decoding line by line begins.

    Attributes:
        prompt: number of the unconditional prompt.
        builder: name of the prompt builder; None: the run's own.
        response_prefix: the start of the response that the prompt forces, which no step decides.
        settings: fields of `DecodingSettings`.
        policies: fields of `Policies` that are not at their defaults.
        task_id: another task, whose signals are shown as a control; None: the unit's own.
    """

    prompt: int
    task_id: str | None = None
    builder: str | None = None
    response_prefix: str = ""
    settings: dict[str, Any]
    policies: dict[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class ProgramEntry:
    """A program and what happened when it ran on the visible calls or inputs.

    Attributes:
        source: the program.
        traces: one per call or input, without its `Trace.source`; of long ones the first events
            and the last.
    """

    source: str
    traces: tuple[Trace, ...] = ()


@frozen(kw_only=True)
class ShownProgram:
    """A program in a signal; see `egcfg.interfaces.solution.SignalEntry`.

    Attributes:
        program: its number.
        samples: candidates that led to it; 0 for the solution so far.
        shown: whether the signal's text shows it.
        share: share of the visible tests that it passes; None where no policy asks.
        marks: what the text says of the verdict on each run.
    """

    program: int
    samples: int
    shown: bool = True
    share: float | None = None
    marks: tuple[str, ...] = ()


@frozen(kw_only=True)
class SignalEntries:
    """A dynamic signal; see `egcfg.interfaces.solution.Signal`.

    Attributes:
        entries: its programs.
        text: what fills the prompt's slot.
        tokens: how many tokens that takes.
        cut: whether something was shortened or dropped.
        away: whether guidance leads away from what it shows.
        against: number of the signal that guidance leads away from at the same time.
        decisions: what policies decided about it.
    """

    entries: tuple[ShownProgram, ...] = ()
    text: str = ""
    tokens: int = 0
    cut: bool = False
    away: bool = False
    against: int | None = None
    decisions: tuple[str, ...] = ()


@frozen(kw_only=True)
class StepEntry:
    """A line as it was decided; see `egcfg.interfaces.solution.LineStep`.

    Attributes:
        decoding: number of the decoding.
        index: number of the step in it, from 0.
        in_code: False while the response has not reached its code.
        text: what the step added to the response.
        tokens: its tokens, with the likeliest ones of both distributions.
        signal: number of the signal that guided it; None without guidance.
        fresh: whether the signal was made for this line.
        usage: the model's work in this step, by stage.
        execution_seconds: wall time of running and tracing candidates.
        decisions: what each policy decided, and why.
        taken_back: the end of the response that the step took back.
    """

    decoding: int
    index: int
    in_code: bool
    text: str
    tokens: tuple[TokenChoice, ...] = ()
    signal: int | None = None
    fresh: bool = False
    usage: dict[str, Usage] = field(factory=dict)
    execution_seconds: float = 0.0
    decisions: tuple[str, ...] = ()
    taken_back: str = ""


@frozen(kw_only=True)
class GenerationEntry:
    """A decoding ends.

    Attributes:
        decoding: its number.
        generation: what came of it.
    """

    decoding: int
    generation: Generation


@frozen(kw_only=True)
class CallEntry:
    """A method asked the model, or had it continue answers.

    Attributes:
        stage: what the cost was booked under.
        prompt: number of the prompt.
        temperature: of the sampling.
        max_tokens: tokens per answer at most.
        replies: the answers; continued ones as far as they have come.
        task_id: as in `DecodingEntry`.
    """

    stage: str
    prompt: int
    task_id: str | None = None
    temperature: float = 0.0
    max_tokens: int = 0
    replies: tuple[Reply, ...] = ()


@frozen(kw_only=True)
class RunEntry:
    """A method ran a program on tests.

    Attributes:
        program: its number; without traces where it did not ask for them.
        results: one verdict per test.
        outcomes: what each call or input led to.
        own_tests: whether the method brought the tests, rather than the task.
        task_id: as in `DecodingEntry`.
    """

    program: int
    task_id: str | None = None
    results: tuple[TestResult, ...] = ()
    outcomes: tuple[str, ...] = ()
    own_tests: bool = False


@frozen(kw_only=True)
class NoteEntry:
    """A method noted an event.

    Attributes:
        event: its name.
        facts: what it said about it; what is no JSON value is told by its type.
    """

    event: str
    facts: dict[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class AttemptEntry:
    """A method gave an answer.

    Attributes:
        program: the whole program.
        stage: which part of the method made it.
        tokens: what the model had worked through by then; see `Usage.tokens`.
        share: of the visible tests that it passed, if the method ran it.
        decoding: number of the decoding that made it; None: it was not decoded line by line.
    """

    program: str
    stage: str
    tokens: int
    share: float | None = None
    decoding: int | None = None


@frozen(kw_only=True)
class VerdictEntry:
    """The verdicts on a distinct answer, reached after the method had ended.

    Attributes:
        program: the answer.
        visible: of the visible tests.
        scored: of the tests that decide; the visible ones where no others are given.
        general_error: why none of these could be run.
    """

    program: str
    visible: tuple[TestResult, ...] = ()
    scored: tuple[TestResult, ...] = ()
    general_error: str | None = None


@frozen(kw_only=True)
class EndEntry:
    """The last line: the record is whole.

    Attributes:
        dropped: lines that were left out because the record had reached its largest size.
    """

    dropped: int = 0


Entry: TypeAlias = (
    UnitEntry
    | PromptEntry
    | DecodingEntry
    | ProgramEntry
    | SignalEntries
    | StepEntry
    | GenerationEntry
    | CallEntry
    | RunEntry
    | NoteEntry
    | AttemptEntry
    | VerdictEntry
    | EndEntry
)

KINDS: Final[Mapping[str, type[Any]]] = {
    "unit": UnitEntry,
    "prompt": PromptEntry,
    "decoding": DecodingEntry,
    "program": ProgramEntry,
    "signal": SignalEntries,
    "step": StepEntry,
    "generation": GenerationEntry,
    "call": CallEntry,
    "run": RunEntry,
    "note": NoteEntry,
    "attempt": AttemptEntry,
    "verdicts": VerdictEntry,
    "end": EndEntry,
}
"""What a line may be, by the value of its key ``kind``."""
_KIND_OF = {each: kind for kind, each in KINDS.items()}


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(omit_if_default=True)
    # JSON has no infinity, which is the log-probability of a token that is ruled out.
    converter.register_unstructure_hook(
        float, lambda value: round(value, DIGITS) if math.isfinite(value) else None
    )
    converter.register_structure_hook(
        float, lambda value, _: -math.inf if value is None else float(value)
    )
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exactly)
    return converter


def _exactly(value: Any, kind: type[Any]) -> Any:
    """Take a value as it is: not what can be made one, as a number can be made text."""
    if issubclass(kind, enum.Enum):  # text by its type, too
        return kind(value)
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__}, not {kind.__name__}")
    return value


_CONVERTER = _converter()


def to_json(entry: Entry) -> dict[str, Any]:
    """Return a line as plain dicts, lists, strings, numbers, booleans and None."""
    told = {"kind": _KIND_OF[type(entry)]}
    if isinstance(entry, UnitEntry):
        told["format"] = entry.format
    unstructured: dict[str, Any] = _CONVERTER.unstructure(entry)
    return told | unstructured


def from_json(content: Any) -> Entry | None:
    """Return the line that `content` is; None where its kind is one of a later version.

    Raises:
        ValueError: it is no line of a record; the message says why, in one line.
    """
    if not isinstance(content, dict) or not isinstance(content.get("kind"), str):
        raise ValueError("not an object with a kind")
    kind = KINDS.get(content["kind"])
    if kind is None:
        return None
    try:
        entry: Entry = _CONVERTER.structure(content, kind)
    except (cattrs.BaseValidationError, TypeError, ValueError, KeyError, AttributeError) as error:
        why = "; ".join(cattrs.transform_error(error)[:2]) if _is_told(error) else str(error)
        raise ValueError(f"no {content['kind']}: {why}") from error
    return entry


def _is_told(error: Exception) -> bool:
    return isinstance(error, cattrs.BaseValidationError)


def shortened(trace: Trace) -> Trace:
    """Return a trace as a record keeps it: its program has a line of its own."""
    if len(trace.events) <= HEAD_EVENTS + TAIL_EVENTS:
        return evolve(trace, source="")
    events = trace.events[:HEAD_EVENTS] + trace.events[-TAIL_EVENTS:]
    return evolve(trace, source="", events=events, cut=True)


def plain(instance: Any, *, changed: bool = False) -> dict[str, Any]:
    """Return the fields of an attrs instance as JSON values; only those `changed`, if wanted."""
    return asdict(
        instance,
        filter=lambda each, value: not changed or value != each.default,
        value_serializer=lambda _, __, value: (
            value.value if isinstance(value, enum.Enum) else value
        ),
    )
