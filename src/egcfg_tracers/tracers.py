"""The tracers: one engine, three levels of detail."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from attrs import field, frozen, validators

from egcfg.interfaces.tracer import RaisedValue, Trace, Tracer, TraceRequest
from egcfg.sandbox import ExecutionResult, Instrument, Outcome, Sandbox
from egcfg_tracers.bundle import engine_file
from egcfg_tracers.compact import render_compact
from egcfg_tracers.decoding import Recording, decode
from egcfg_tracers.final import render_final
from egcfg_tracers.paper import render_paper, render_paper_final
from egcfg_tracers.values import clean, scrubbed

__all__ = [
    "BytecodeOptions",
    "BytecodeTracer",
    "FullOptions",
    "FullTracer",
    "MinimalOptions",
    "MinimalTracer",
    "TextLayout",
]

_STDIO_CHARS = 4_000


class TextLayout(enum.StrEnum):
    """How a trace is written for a prompt: only what changed, or as in the paper."""

    COMPACT = "compact"
    PAPER = "paper"


@frozen(kw_only=True)
class MinimalOptions:
    """Options of the `minimal` tracer.

    Attributes:
        layout: how the text is laid out.
        max_chars: characters of a text, where the caller allows more.
    """

    layout: TextLayout = field(default=TextLayout.COMPACT, converter=TextLayout)
    max_chars: int = field(default=300, validator=validators.ge(40))


@frozen(kw_only=True)
class FullOptions:
    """Options of the `full` tracer.

    Attributes:
        layout: how the text is laid out.
        max_chars: characters of a text, where the caller allows more.
        head_events: events kept from the start of a run.
        tail_events: events kept from its end.
        watched_events: events after which a program is left alone, so that a long one ends in time.
    """

    layout: TextLayout = field(default=TextLayout.COMPACT, converter=TextLayout)
    max_chars: int = field(default=2_000, validator=validators.ge(40))
    head_events: int = field(default=2_000, validator=validators.ge(1))
    tail_events: int = field(default=512, validator=validators.ge(1))
    watched_events: int = field(default=12_000, validator=validators.ge(1))


@frozen(kw_only=True)
class BytecodeOptions(FullOptions):
    """Options of the `bytecode` tracer.

    Attributes:
        op_events: instructions kept from the start of a run.
        show_opcodes: whether the text for a prompt has the instructions, too.
    """

    op_events: int = field(default=20_000, validator=validators.ge(1))
    show_opcodes: bool = False


class _EngineTracer(Tracer):
    """Runs requests under the engine and reads back what it wrote."""

    def __init__(self, instrument_options: dict[str, Any], memory_bytes: int, tail: int) -> None:
        self._instrument_options = instrument_options
        self._memory_bytes = memory_bytes
        self._tail_events = tail

    async def trace(self, requests: Sequence[TraceRequest], sandbox: Sandbox) -> list[Trace]:
        """Run every request in a process of its own and return one trace each, in order."""
        instrument = Instrument(
            path=str(engine_file()),
            options=self._instrument_options,
            memory_bytes=self._memory_bytes,
        )
        results = await sandbox.run([request.execution(instrument) for request in requests])
        return [
            _assemble(request, result, decode(result.memory, self._memory_bytes, self._tail_events))
            for request, result in zip(requests, results, strict=True)
        ]


class FullTracer(_EngineTracer):
    """Calls, lines, changed variables, returns and exceptions."""

    Options = FullOptions

    def __init__(self, options: FullOptions | None = None) -> None:
        self.options = options = options or FullOptions()
        super().__init__(_budgets(options, "line", 0), 1 << 18, options.tail_events)

    def render(self, trace: Trace, max_chars: int) -> str:
        """Return `trace` as text, each line with what it changed."""
        max_chars = min(max_chars, self.options.max_chars)
        if self.options.layout is TextLayout.PAPER:
            return render_paper(trace, max_chars)
        return render_compact(trace, max_chars)


class BytecodeTracer(_EngineTracer):
    """What `FullTracer` sees, and every executed bytecode instruction."""

    Options = BytecodeOptions

    def __init__(self, options: BytecodeOptions | None = None) -> None:
        self.options = options = options or BytecodeOptions()
        budgets = _budgets(options, "op", options.op_events)
        super().__init__(budgets, 1 << 20, options.tail_events)

    def render(self, trace: Trace, max_chars: int) -> str:
        """Return `trace` as text, each line with what it changed; instructions if wanted."""
        max_chars = min(max_chars, self.options.max_chars)
        if self.options.layout is TextLayout.PAPER:
            return render_paper(trace, max_chars)
        return render_compact(trace, max_chars, opcodes=self.options.show_opcodes)


class MinimalTracer(_EngineTracer):
    """Only the state in which the called function ended, and its result or exception."""

    Options = MinimalOptions

    def __init__(self, options: MinimalOptions | None = None) -> None:
        self.options = options or MinimalOptions()
        budgets = {"level": "final", "head_events": 64, "watched_events": 1, "op_events": 0}
        super().__init__(budgets, 1 << 17, 512)

    def render(self, trace: Trace, max_chars: int) -> str:
        """Return the last state in `trace` as text."""
        max_chars = min(max_chars, self.options.max_chars)
        if self.options.layout is TextLayout.PAPER:
            return render_paper_final(trace, max_chars)
        return render_final(trace, max_chars)


def _budgets(options: FullOptions, level: str, op_events: int) -> dict[str, Any]:
    return {
        "level": level,
        "head_events": options.head_events,
        "watched_events": max(options.watched_events, options.head_events),
        "op_events": op_events,
    }


def _assemble(request: TraceRequest, result: ExecutionResult, recording: Recording) -> Trace:
    """Put the sandbox's account of a run and what the engine saw of it together."""
    events = recording.events
    known = f"{request.source}\n{request.call}\n{request.stdin}"
    if result.outcome not in (Outcome.OK, Outcome.EXCEPTION):
        events += recording.last_seen
    raised = None
    if result.raised is not None:
        raised = RaisedValue(
            type=clean(result.raised.type, 60),
            message=clean(scrubbed(result.raised.message, known)),
        )
    return Trace(
        source=request.source,
        call=request.call,
        stdin=request.stdin,
        events=events,
        outcome=result.outcome,
        raised=raised,
        result=recording.result if result.outcome is Outcome.OK else None,
        stdout=_bounded(scrubbed(result.stdout, known)),
        stderr=_bounded(scrubbed(result.stderr, known)),
        events_seen=recording.events_seen,
        cut=recording.cut,
        coarse=recording.coarse,
        lost=recording.lost and result.outcome is not Outcome.SANDBOX_ERROR,
        detail=result.detail,
    )


def _bounded(text: str) -> str:
    return text if len(text) <= _STDIO_CHARS else f"{text[:_STDIO_CHARS]}..."
