"""Which step decided which line of the program."""

from __future__ import annotations

from typing import Any

from egcfg.decoding.settings import DecodingSettings, Policies
from egcfg.interfaces.method import Attempt, Configuration
from egcfg.interfaces.prompt import Prompt
from egcfg.interfaces.solution import FinishReason, Generation, LineStep
from egcfg.records.entries import UnitEntry
from egcfg.records.lines import answer_decoding, code_lines
from egcfg.records.reading import load_record
from egcfg.records.recorder import Recorder


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


def test_blanks_after_a_line_are_the_indent_of_the_next_one() -> None:
    recorder = Recorder(UnitEntry(task_id="t"))
    configuration = Configuration(settings=DecodingSettings(gamma=0.0))
    number = recorder.decoding(configuration, Prompt(before="", after=""), Policies(), "t")
    texts = ["def f(x):\n    ", "\n    ", "return (\n        x\n    ", ")\n\n"]
    for index, text in enumerate(texts):
        recorder.decoded(number, LineStep(index=index, in_code=True, text=text, tokens=()))
    response = "".join(texts)
    code = response.rstrip()
    generation = Generation(response=response, code=code, ids=(), finish=FinishReason.CODE_END)
    recorder.decoded(number, generation)
    recorder.attempt(Attempt(program=code, stage="decode", generation=generation), 9, None)
    record = load_record(recorder.content())
    decoding = answer_decoding(record)
    assert decoding is not None
    assert code_lines(record, decoding) == {0: [1], 1: [2], 2: [3, 4], 3: [5]}
