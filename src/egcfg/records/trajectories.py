"""Records as training data: one JSON object per result, which TRL and verifiers read.

``prompt`` and ``completion`` are lists of messages, as TRL's conversational prompt-completion form
has them, or texts where the prompt is plain text; ``label`` makes it its unpaired-preference form.
``idx``, ``id``, ``description`` and ``prompt`` are fields of verifiers' ``TaskData``, whose wire
form takes all others as they are.
Every object has the same keys, with lists of objects instead of keys that vary, so that
``datasets.load_dataset("json", ...)`` finds one type for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from attrs import frozen

from egcfg.errors import RunError
from egcfg.interfaces.scorer import TestResult, TestStatus
from egcfg.interfaces.solution import Alternative, TokenChoice
from egcfg.interfaces.tracer import Trace
from egcfg.records.entries import (
    CallEntry,
    DecodingEntry,
    GenerationEntry,
    PromptEntry,
    SignalEntries,
    StepEntry,
)
from egcfg.records.lines import answer_decoding
from egcfg.records.reading import UnitRecord, read_record_of
from egcfg.runs.folder import FolderReader
from egcfg.runs.store import ResultFile

__all__ = ["trajectories", "trajectory"]


def trajectories(folder: Path) -> Iterator[dict[str, Any] | RunError]:
    """Yield the trajectory of every recorded result below `folder`; for what cannot be read, why.

    Raises:
        RunError: `folder` does not exist or holds no result file.
    """
    found = FolderReader(folder, _Recorded.of).look()
    for each in found.left_out:
        yield RunError(f"{each.path} {each.why}")
    number = 0
    for unit in filter(None, found.kept):
        try:
            record = read_record_of(unit.path)
        except RunError as error:
            yield error
            continue
        if record.dropped:
            yield RunError(
                f"the record of {unit.path} had no room for all lines: its answer is not known"
            )
            continue
        yield trajectory(record, number, dataset=unit.dataset, model=unit.model)
        number += 1


@frozen
class _Recorded:
    """A result that names a record, and whose it is."""

    path: Path
    dataset: str
    model: str

    @classmethod
    def of(cls, file: ResultFile) -> _Recorded | None:
        if file.result is None or file.result.record is None:
            return None
        return cls(file.path, file.dataset, file.model)


def trajectory(
    record: UnitRecord, number: int = 0, *, dataset: str = "", model: str = ""
) -> dict[str, Any]:
    """Return a record as one example.

    Args:
        record: how a unit was worked on.
        number: of the example.
        dataset: name of its data set.
        model: name of the model.
    """
    prompt, prefix, completion = _exchange(record)
    judged = record.verdicts
    passed = bool(judged.scored) and all(_passed(test) for test in judged.scored)
    unit = record.unit
    chat = bool(prompt.messages)
    return {
        "idx": number,
        "id": unit.task_id,
        "description": unit.description,
        "entry_point": unit.entry_point,
        "dataset": dataset,
        "model": model,
        "method": unit.method,
        "config": unit.config,
        "gamma": unit.gamma,
        "prompt": [_message(m.role, m.content) for m in prompt.messages] if chat else prompt.text,
        "completion": [_message("assistant", prefix + completion)] if chat else completion,
        "label": passed,
        "reward": float(passed),
        "code": record.answer,
        "lines": _lines(record),
        "programs": [
            {"source": each.source, "runs": [_run(trace) for trace in each.traces]}
            for each in record.programs
        ],
        "visible_tests": [_test(test) for test in judged.visible],
        "hidden_tests": [] if judged.visible == judged.scored else list(map(_test, judged.scored)),
    }


def _exchange(record: UnitRecord) -> tuple[PromptEntry, str, str]:
    """Return the prompt that the answer came from, what it was made to start with, and the rest."""
    decoding = answer_decoding(record)
    if decoding is not None:
        begun: DecodingEntry = record.decodings[decoding.decoding]
        response = decoding.generation.response
        prefix = begun.response_prefix if response.startswith(begun.response_prefix) else ""
        return record.prompts[begun.prompt], prefix, response[len(prefix) :]
    told = [
        (record.prompts[call.prompt], reply.text)
        for call in record.of_kind(CallEntry)
        if call.task_id is None
        for reply in call.replies
    ]
    if not told:
        return PromptEntry(text=record.unit.description), "", record.answer
    # The program of the one may be all of it, that of another an earlier or a shorter one.
    shares = [_shared_lines(record.answer, prompt.prefix + text) for prompt, text in told]
    place = max(range(len(told)), key=lambda place: (shares[place], place))
    prompt, text = told[place]
    return prompt, prompt.prefix, text


def _shared_lines(program: str, reply: str) -> tuple[int, float]:
    """Return how many lines of a program are in a reply, and how alike they are besides."""
    matcher = SequenceMatcher(None, program.split("\n"), reply.split("\n"), autojunk=False)
    return sum(block.size for block in matcher.get_matching_blocks()), matcher.ratio()


def _lines(record: UnitRecord) -> list[dict[str, Any]]:
    """Return each decided line of each decoding; programs are told by their numbers."""
    ends = {each.decoding: each.generation for each in record.of_kind(GenerationEntry)}
    signals = record.signals
    return [
        {
            "decoding": step.decoding,
            "gamma": float(record.decodings[step.decoding].settings.get("gamma", 0.0)),
            "finished": step.decoding in ends,
            "text": step.text,
            "in_code": step.in_code,
            "decisions": list(step.decisions),
            "signal": "" if step.signal is None else signals[step.signal].text,
            "candidates": [] if step.signal is None else _candidates(signals[step.signal]),
            "tokens": [_token(choice) for choice in step.tokens],
            "taken_back": step.taken_back,
        }
        for step in record.of_kind(StepEntry)
        if record.decodings[step.decoding].task_id is None  # else its signals are a control
    ]


def _candidates(signal: SignalEntries) -> list[dict[str, Any]]:
    return [
        {"program": each.program, "samples": each.samples, "shown": each.shown}
        for each in signal.entries
    ]


def _token(choice: TokenChoice) -> dict[str, Any]:
    """Return a token; a log-probability that is not known, or of a token ruled out, is null."""
    return {
        "id": choice.id,
        "text": choice.text,
        "logprob_unconditional": _finite(choice.logprob_unconditional),
        "logprob_conditional": _finite(choice.logprob_conditional),
        "logprob_guided": _finite(choice.logprob_guided),
        "changed": choice.changed,
        "likeliest_unconditional": _likeliest(choice.likeliest_unconditional),
        "likeliest_conditional": _likeliest(choice.likeliest_conditional),
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or value == float("-inf") else value


def _likeliest(alternatives: tuple[Alternative, ...]) -> list[dict[str, Any]]:
    return [{"text": each.text, "logprob": each.logprob} for each in alternatives]


def _run(trace: Trace) -> dict[str, Any]:
    """Return a run: how it ended, and each event with the variables that it changed."""
    raised = trace.raised
    return {
        "call": trace.call,
        "stdin": trace.stdin,
        "outcome": trace.outcome.value,
        "result": None if trace.result is None else trace.result.text,
        "raised": None if raised is None else f"{raised.type}: {raised.message}",
        "stdout": trace.stdout,
        "events": [
            {
                "event": event.kind.value,
                "function": event.function,
                "line": event.line,
                "changed": [
                    {"name": name, "type": value.type, "text": value.text}
                    for name, value in {**event.delta, **event.globals}.items()
                ],
            }
            for event in trace.events
        ],
    }


def _test(test: TestResult) -> dict[str, Any]:
    return {"name": test.name, "status": test.status.value, "error": test.error}


def _passed(test: TestResult) -> bool:
    return test.status is TestStatus.PASSED


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
