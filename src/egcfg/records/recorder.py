"""Writes a record while a unit is worked on; it is kept in memory, compressed, until it is whole.

Nobody sees half a record: whoever started one writes its bytes in one piece, or nothing.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from egcfg.decoding.settings import Policies
from egcfg.interfaces.method import Attempt, Configuration, ProgramRun, Reply
from egcfg.interfaces.prompt import ChatPrompt, Prompt, TextPrompt
from egcfg.interfaces.scorer import Score
from egcfg.interfaces.solution import Generation, LineStep, Signal
from egcfg.interfaces.tracer import Trace
from egcfg.records.entries import (
    AttemptEntry,
    CallEntry,
    DecodingEntry,
    EndEntry,
    Entry,
    GenerationEntry,
    NoteEntry,
    ProgramEntry,
    PromptEntry,
    RunEntry,
    ShownProgram,
    SignalEntries,
    StepEntry,
    UnitEntry,
    VerdictEntry,
    plain,
    shortened,
    to_json,
)

__all__ = ["ALTERNATIVES", "LARGEST", "Recorder"]

ALTERNATIVES = 5
"""Tokens told of each distribution, the likeliest first."""

LARGEST = 4 << 20
"""Bytes of a record; what comes after them is counted and left out."""


class Recorder:
    """Is told what is done for a unit, and writes it down.

    Args:
        unit: the record's first line.
        largest: bytes after which lines are left out.
    """

    def __init__(self, unit: UnitEntry, *, largest: int = LARGEST) -> None:
        self.unit = unit
        self._adopted: bytes | None = None
        # As gzip, without a time of writing: equal work gives equal bytes.
        self._compressor = zlib.compressobj(level=9, wbits=zlib.MAX_WBITS | 16)
        self._compressed = bytearray()
        self._largest = largest
        self._task_id = unit.task_id
        self._dropped = 0
        self._prompts: dict[PromptEntry, int] = {}
        self._programs: dict[tuple[str, tuple[tuple[str | None, str], ...]], int] = {}
        self._signals = 0
        self._signal: Signal | None = None
        self._decodings = 0
        self._generations: list[tuple[int, Generation]] = []
        self._write(unit)

    def adopt(self, content: bytes) -> None:
        """Stand for the record that another process wrote of the same unit."""
        self._adopted = content

    def content(self) -> bytes:
        """End the record and return the content of its file."""
        if self._adopted is not None:
            return self._adopted
        line = self._line(EndEntry(dropped=self._dropped))
        self._compressed += self._compressor.compress(line) + self._compressor.flush()
        return bytes(self._compressed)

    def call(
        self,
        stage: str,
        prompt: TextPrompt | ChatPrompt,
        temperature: float,
        max_tokens: int,
        replies: Sequence[Reply],
        task_id: str,
    ) -> None:
        """A method asked the model about a task, which may be another one than the unit's."""
        self._write(
            CallEntry(
                stage=stage,
                prompt=self._prompt(prompt),
                task_id=self._other(task_id),
                temperature=temperature,
                max_tokens=max_tokens,
                replies=tuple(replies),
            )
        )

    def runs(self, runs: Sequence[ProgramRun], task_id: str, *, own_tests: bool) -> None:
        """A method ran programs."""
        for run in runs:
            entry = RunEntry(
                program=self._program(run.program, run.traces),
                task_id=self._other(task_id),
                results=run.results,
                outcomes=run.outcomes,
                own_tests=own_tests,
            )
            self._write(entry)

    def note(self, event: str, facts: Mapping[str, Any]) -> None:
        """A method noted an event."""
        told = {name: _json_value(value) for name, value in facts.items()}
        self._write(NoteEntry(event=event, facts=told))

    def decoding(
        self, configuration: Configuration, prompt: Prompt, policies: Policies, task_id: str
    ) -> int:
        """A decoding begins; return its number."""
        self._write(
            DecodingEntry(
                prompt=self._prompt(prompt.unconditional()),
                task_id=self._other(task_id),
                builder=configuration.prompt,
                response_prefix=prompt.response_prefix,
                settings=plain(configuration.settings),
                policies=plain(policies, changed=True),
            )
        )
        self._decodings += 1
        return self._decodings - 1

    def decoded(self, decoding: int, item: LineStep | Generation) -> None:
        """A decoding came to a line, or to its end."""
        if isinstance(item, Generation):
            self._generations.append((decoding, item))
            self._write(GenerationEntry(decoding=decoding, generation=item))
            return
        self._write(
            StepEntry(
                decoding=decoding,
                index=item.index,
                in_code=item.in_code,
                text=item.text,
                tokens=item.tokens,
                signal=None if item.signal is None else self._signal_number(item.signal),
                fresh=item.fresh,
                usage=dict(item.usage),
                execution_seconds=item.execution_seconds,
                decisions=item.decisions,
                taken_back=item.taken_back,
            )
        )

    def attempt(self, attempt: Attempt, tokens: int, share: float | None) -> None:
        """A method gave an answer."""
        made = [n for n, each in self._generations if each == attempt.generation]
        self._write(
            AttemptEntry(
                program=attempt.program,
                stage=attempt.stage,
                tokens=tokens,
                share=share,
                decoding=made[-1] if made else None,  # not the last one: an earlier may be best
            )
        )

    def verdicts(self, program: str, visible: Score, scored: Score) -> None:
        """An answer was judged."""
        self._write(
            VerdictEntry(
                program=program,
                visible=visible.results,
                scored=scored.results,
                general_error=scored.general_error,
            )
        )

    def _other(self, task_id: str) -> str | None:
        return None if task_id == self._task_id else task_id

    def _prompt(self, prompt: TextPrompt | ChatPrompt) -> int:
        entry = PromptEntry.of(prompt)
        if entry not in self._prompts:
            self._prompts[entry] = len(self._prompts)
            self._write(entry)
        return self._prompts[entry]

    def _program(self, source: str, traces: Sequence[Trace]) -> int:
        key = (source, tuple((trace.call, trace.stdin) for trace in traces))
        if key not in self._programs:
            self._programs[key] = len(self._programs)
            self._write(ProgramEntry(source=source, traces=tuple(map(shortened, traces))))
        return self._programs[key]

    def _signal_number(self, signal: Signal) -> int:
        if signal is not self._signal:
            self._write_signal(signal)
            self._signal = signal
        return self._signals - 1

    def _write_signal(self, signal: Signal) -> int:
        against = None if signal.against is None else self._write_signal(signal.against)
        entries = tuple(
            ShownProgram(
                program=self._program(each.program, each.traces),
                samples=each.samples,
                shown=each.shown,
                share=each.share,
                marks=each.marks,
            )
            for each in signal.entries
        )
        self._write(
            SignalEntries(
                entries=entries,
                text=signal.text,
                tokens=signal.tokens,
                cut=signal.cut,
                away=signal.away,
                against=against,
                decisions=signal.decisions,
            )
        )
        self._signals += 1
        return self._signals - 1

    def _write(self, entry: Entry) -> None:
        if self._dropped or len(self._compressed) > self._largest:
            # Also what is small: a line left out may be one that it names.
            self._dropped += 1
            return
        self._compressed += self._compressor.compress(self._line(entry))

    def _line(self, entry: Entry) -> bytes:
        content = to_json(entry)
        try:
            return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:
            # Lone surrogates, which models and programs may write; numbers of more than 64 bits.
            return json.dumps(content).encode() + b"\n"


def _json_value(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return type(value).__name__
    return value
