"""Programs as samples of other harnesses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve

from egcfg.errors import UsageError
from egcfg.reports.samples import SampleShape, one_row, sample_file
from egcfg.runs.store import FileState


@pytest.fixture
def records(make_record: Any) -> list[Any]:
    found = [make_record(f"HumanEval/{task}", gamma) for gamma in (0.0, 1.0) for task in (10, 9)]
    return [
        evolve(record, result=evolve(record.result, code=f"# {record.task_id} {record.gamma}\n"))
        for record in found
    ]


@pytest.mark.parametrize(
    ("shape", "field"),
    [(SampleShape.EVALPLUS, "solution"), (SampleShape.HUMAN_EVAL, "completion")],
)
def test_lines_have_a_program_per_task_in_the_tasks_order(
    records: list[Any], shape: SampleShape, field: str
) -> None:
    lines = sample_file(one_row(records, gamma=1.0), shape).splitlines()
    assert [json.loads(line) for line in lines] == [
        {"task_id": "HumanEval/9", field: "# HumanEval/9 1.0\n"},
        {"task_id": "HumanEval/10", field: "# HumanEval/10 1.0\n"},
    ]


def test_bigcode_takes_an_array_of_programs_per_task(records: list[Any]) -> None:
    data = sample_file(one_row(records, gamma=0.0), SampleShape.BIGCODE)
    assert json.loads(data) == [["# HumanEval/9 0.0\n"], ["# HumanEval/10 0.0\n"]]


def test_what_has_no_program_of_its_own_is_left_out(make_record: Any) -> None:
    found = [
        make_record("1"),
        make_record("2", cached=True),
        make_record("3", state=FileState.BROKEN),
    ]
    lines = sample_file(one_row(found), SampleShape.EVALPLUS).splitlines()
    assert [json.loads(line)["task_id"] for line in lines] == ["1"]


def test_bigcode_keeps_the_place_of_a_task_without_a_program(make_record: Any) -> None:
    solved = make_record("2")
    solved = evolve(solved, result=evolve(solved.result, code="x = 1\n"))
    found = [make_record("1", cached=True), solved]
    generations = json.loads(sample_file(one_row(found), SampleShape.BIGCODE))
    assert generations == [[""], ["x = 1\n"]]


def test_several_rows_are_named_and_refused(records: list[Any], make_record: Any) -> None:
    with pytest.raises(UsageError, match=r"these are 2: mbpp org_tiny ns2t0.75d2_ln gamma 0; mbpp"):
        one_row(records)
    with pytest.raises(UsageError, match="there is none; choose with --model, --row and --gamma"):
        one_row(records, model="other")
    many = [make_record(gamma=float(gamma)) for gamma in range(9)]
    with pytest.raises(UsageError, match="gamma 5 and 3 more"):
        one_row(many)
    assert len(one_row(many, "TINY", "ns2t0.75d2_ln", 3.0)) == 1


def test_human_evals_own_check_takes_the_whole_program_as_a_completion() -> None:
    prompt = 'def one(x):\n    """Add one."""\n'
    program = "import math\n\ndef one(x):\n    return x + 1\n"
    names: dict[str, Any] = {}
    exec(prompt + program, names)
    assert names["one"](1) == 2
