"""Which step decided which line of the program."""

from __future__ import annotations

from typing import Any

from egcfg.records.lines import answer_decoding, code_lines


def test_each_line_of_the_program_is_of_the_step_that_wrote_it(recorded: Any) -> None:
    record, code = recorded.record, recorded.solution.code.split("\n")
    decoding = answer_decoding(record)
    lines = code_lines(record, decoding)
    told = {}
    for step in recorded.steps:
        for number in lines[step.index]:
            told[number] = step.text.strip()
    # The prompt forces the first line; the rest was decided, each line in its step.
    assert sorted(told) == list(range(2, 6)) or sorted(told) == list(range(1, 6))
    for number, text in told.items():
        assert code[number - 1].strip() in text or text in code[number - 1]
