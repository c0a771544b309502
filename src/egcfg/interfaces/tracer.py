"""The seam to execution: programs in, canonical traces out, and their text for a prompt.

A `Trace` has one form whatever the tracer and however the run ended. Its content comes from the
traced program's own process: it is data for a prompt or a person, never part of a verdict.
"""

from __future__ import annotations

import enum
import pprint
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from attrs import field, frozen

from egcfg.sandbox.types import Call, Execution, ExecutionResult, Instrument, Limits, Outcome

if TYPE_CHECKING:
    from egcfg.sandbox.service import Sandbox

__all__ = [
    "EventKind",
    "Opcode",
    "RaisedValue",
    "Trace",
    "TraceEvent",
    "TraceRequest",
    "Tracer",
    "Value",
]


class EventKind(enum.StrEnum):
    """What happened at one point of a run."""

    CALL = "call"
    RESUME = "resume"
    LINE = "line"
    OPCODE = "op"
    YIELD = "yield"
    RETURN = "return"
    EXCEPTION = "exception"
    UNWIND = "unwind"


@frozen
class Value:
    """A value as it was at that moment, rendered without running any of the program's code.

    Attributes:
        type: name of its class.
        text: bounded, deterministic rendering; no memory addresses, sets in a stable order.
        changes: of a variable whose text does not tell its whole value, the places in it that
            changed, such as ``dp[25]=3`` or ``seen.add(7)``; the last one may say that there are
            more.
    """

    type: str
    text: str
    changes: tuple[str, ...] = ()


@frozen(kw_only=True)
class RaisedValue:
    """An exception in flight.

    Attributes:
        type: name of its class.
        message: its bounded text.
        first: whether this is the frame that raised it (others see it pass).
    """

    type: str
    message: str
    first: bool = True


@frozen(kw_only=True)
class Opcode:
    """One executed bytecode instruction, as `dis` names its parts."""

    offset: int
    name: str
    arg: int | None = None
    argrepr: str = ""


@frozen(kw_only=True)
class TraceEvent:
    """One point of a run.

    Attributes:
        index: position among all events seen, from 0; gaps show where events were dropped.
        kind: what happened.
        activation: which call of the function this is; two live generators of one function differ.
        depth: frames on the stack that belong to the program; the module is 1.
        function: name of the code that runs; ``<module>`` at depth 1. A comprehension is an
            activation of its own in every Python: a `LINE` for each iteration, or a `YIELD` where
            it gives an element, with the variables that it bound.
        line: line of the program, from 1. A `LINE` event comes *before* its line runs.
        delta: local variables that were bound or changed since this activation's last event.
        globals: global variables that the function names and that changed since any function's
            last event; new ones among them.
        full: all local variables, on key events only; else None.
        value: what is returned or yielded.
        raised: the exception, for `EXCEPTION` and `UNWIND`.
        opcode: the instruction, for `OPCODE`.
    """

    index: int
    kind: EventKind
    activation: int
    depth: int
    function: str
    line: int
    delta: Mapping[str, Value] = field(factory=dict)
    globals: Mapping[str, Value] = field(factory=dict)
    full: Mapping[str, Value] | None = None
    value: Value | None = None
    raised: RaisedValue | None = None
    opcode: Opcode | None = None


def _as_tuple(events: Iterable[TraceEvent]) -> tuple[TraceEvent, ...]:
    return tuple(events)


@frozen(kw_only=True)
class Trace:
    """What happened when a program ran.

    Attributes:
        source: the program.
        call: the expression that was evaluated afterwards, if any.
        stdin: what standard input held.
        events: in order of time.
        outcome: how the run ended.
        raised: the exception that ended it.
        result: the call's value.
        stdout: standard output, bounded.
        stderr: standard error, bounded.
        events_seen: events that happened while tracing was on.
        cut: whether events were dropped for the budget.
        coarse: whether large values became too many to be compared in full, so that changes deep
            inside of them may be missing.
        lost: whether tracing stopped before the program did (it removed the trace function, or its
            stack overflowed).
        detail: the sandbox's account of a kill or of its own failure.
    """

    source: str
    call: str | None = None
    stdin: str = ""
    events: tuple[TraceEvent, ...] = field(default=(), converter=_as_tuple)
    outcome: Outcome = Outcome.OK
    raised: RaisedValue | None = None
    result: Value | None = None
    stdout: str = ""
    stderr: str = ""
    events_seen: int = 0
    cut: bool = False
    coarse: bool = False
    lost: bool = False
    detail: str = ""

    @classmethod
    def of(cls, request: TraceRequest, result: ExecutionResult) -> Trace:
        """Return what the sandbox alone tells of a run: no events, but its end and its output."""
        raised = None
        if result.raised is not None:
            raised = RaisedValue(type=result.raised.type, message=result.raised.message)
        return cls(
            source=request.source,
            call=request.call,
            stdin=request.stdin,
            outcome=result.outcome,
            raised=raised,
            result=_as_value(result.value) if result.has_value else None,
            stdout=result.stdout,
            stderr=result.stderr,
            detail=result.detail,
        )


def _as_value(value: object) -> Value:
    # Unlike repr, it shows sets in the same order in every process.
    text = pprint.pformat(value, width=sys.maxsize, sort_dicts=False)
    return Value(type(value).__name__, text if len(text) <= 400 else f"{text[:400]}...")


@frozen(kw_only=True)
class TraceRequest:
    """A program to run under the tracer: one call of a function, or a whole program on an input.

    Attributes:
        source: the program.
        setup: code that runs before it in the same names, unwatched; or after it, where it needs
            names that the program defines.
        call: the expression to evaluate afterwards; None runs `source` as ``__main__``.
        stdin: what standard input holds.
        limits: what the run may use.
    """

    source: str
    setup: str = ""
    call: str | None = None
    stdin: str = ""
    limits: Limits = field(factory=lambda: Limits(cpu_seconds=2.0, wall_seconds=6.0))

    def execution(self, instrument: Instrument | None = None) -> Execution:
        """Return what to hand to `egcfg.Sandbox.run`, watched by `instrument`."""
        return Execution(
            source=self.source,
            setup=self.setup,
            call=None if self.call is None else Call(self.call),
            stdin=self.stdin,
            run_as_main=self.call is None,
            limits=self.limits,
            instrument=instrument,
        )


class Tracer(ABC):
    """Runs programs in the sandbox and says what happened.

    Subclasses take one argument, an instance of their options class.
    """

    Options: ClassVar[type]
    """The attrs class of this tracer's options."""

    @abstractmethod
    def trace(
        self, requests: Sequence[TraceRequest], sandbox: Sandbox
    ) -> Awaitable[list[Trace]] | list[Trace]:
        """Run every request in a process of its own and return one trace each, in order.

        Raises:
            SandboxError: the sandbox runs no program, not even an empty one.
        """

    @abstractmethod
    def render(self, trace: Trace, max_chars: int) -> str:
        """Return `trace` as text for a prompt, at most `max_chars` characters.

        The program's source is not part of the text. What was left out is said in it.
        """
