"""Which step decided which line of an answer."""

from __future__ import annotations

from difflib import SequenceMatcher

from egcfg.records.entries import AttemptEntry, GenerationEntry, StepEntry
from egcfg.records.reading import UnitRecord

__all__ = ["answer_decoding", "code_lines"]


def answer_decoding(record: UnitRecord) -> GenerationEntry | None:
    """Return the decoding that the answer comes from; None: it was not decoded line by line."""
    attempts = record.of_kind(AttemptEntry)
    wanted = attempts[-1].decoding if attempts else None
    found = [each for each in record.of_kind(GenerationEntry) if each.decoding == wanted]
    return found[-1] if found else None


def code_lines(record: UnitRecord, decoding: GenerationEntry) -> dict[int, list[int]]:
    """Return the lines of the program that each step of a decoding wrote, by the step's index.

    Lines are counted from 1. A step before the code has none, nor has a line of the program that no
    step wrote: what the prompt gave, and what a policy took whole.
    """
    response = decoding.generation.response
    line_of: dict[int, int] = {}  # of the response, to that of the program
    pairs = SequenceMatcher(
        None, response.split("\n"), decoding.generation.code.split("\n"), autojunk=False
    )
    for start, code_start, length in pairs.get_matching_blocks():
        line_of |= {start + n: code_start + n + 1 for n in range(length)}
    steps = [s for s in record.of_kind(StepEntry) if s.decoding == decoding.decoding]
    place = len(record.decodings[decoding.decoding].response_prefix)
    lines: dict[int, list[int]] = {}
    for step in steps:
        if not step.text:
            lines[step.index] = []  # the response ended
            continue
        # Blanks at its end are the next line's indent.
        written = step.text.rstrip(" \t")
        first = response.count("\n", 0, place)
        last = response.count("\n", 0, place + len(written)) - written.endswith("\n")
        place += len(step.text)
        lines[step.index] = [line_of[n] for n in range(first, last + 1) if n in line_of]
    return lines
