from __future__ import annotations

import gzip
from pathlib import Path

import orjson
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from egcfg.errors import DataError
from egcfg.evaluation.samples import (
    completed_program,
    continuation,
    read_samples,
    whole_program,
)
from egcfg.interfaces.problem import AssertTest, Problem

GIVEN = 'from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    """Add up."""\n'
BODY = "    return helper(xs)\n\n\ndef helper(xs):\n    return sum(xs)\n"
WHOLE = "def total(xs):\n    return sum(xs)\n"
PROBLEM = Problem(
    task_id="Sums/1",
    description="Add up.",
    entry_point="total",
    visible_tests=[AssertTest("assert total([1, 2]) == 3")],
    given_code=GIVEN,
)


def value_of(program: str) -> int:
    names: dict[str, object] = {}
    exec(program, names)  # our own text, no model's
    total = names["total"]
    assert callable(total)
    return total([1, 2])


@pytest.mark.parametrize(
    ("completion", "extracted"),
    [
        ("    return sum(xs)\n", False),
        ("    return sum(xs)", False),
        (BODY, False),
        (f"    pass\n\n\nimport math\n\n\n{WHOLE}", False),
        (WHOLE, False),
        (f"import math\n\n\n{WHOLE}", False),
        (f"Sure:\n```python\n{WHOLE}```\nIt adds up.", True),
        (f"```python\n{GIVEN}    return sum(xs)\n```", True),
        ("    return sum(xs)\n\nThis function adds up what it is given.\n", True),
    ],
)
def test_a_completion_becomes_the_program_that_it_means(completion: str, extracted: bool) -> None:
    program, was_extracted = completed_program(PROBLEM, completion)

    assert value_of(program) == 3
    assert was_extracted is extracted
    if not extracted:
        assert program == GIVEN + completion


@pytest.mark.parametrize(
    ("text", "extracted"), [(WHOLE, False), (f"Here:\n```\n{WHOLE}```\nDone it is.", True)]
)
def test_a_whole_program_stands_for_itself(text: str, extracted: bool) -> None:
    program, was_extracted = whole_program(PROBLEM, text)

    assert program == WHOLE
    assert was_extracted is extracted


@given(st.text())
def test_any_text_is_judged_as_it_stands_unless_code_was_found_in_it(text: str) -> None:
    for program, extracted in (completed_program(PROBLEM, text), whole_program(PROBLEM, text)):
        if extracted:
            compile(program, "program", "exec", dont_inherit=True, flags=0x400)  # syntax only
        else:
            assert program.endswith(text)


def write(path: Path, *lines: object) -> Path:
    data = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["samples.jsonl", "samples.jsonl.gz"])
def test_a_file_holds_any_number_of_samples_per_task(tmp_path: Path, name: str) -> None:
    file = write(
        tmp_path / name,
        {"task_id": "Sums/1", "completion": "    return sum(xs)\n"},
        {"task_id": "Sums/1", "solution": WHOLE, "completion": "nonsense"},
        {"task_id": "Sums/1", "code": WHOLE, "model": "any"},
        {"task_id": "Sums/1", "completion": ""},
    )

    samples = read_samples(file, [PROBLEM])

    assert [sample.line for sample in samples] == [1, 2, 3, 4]
    assert [sample.program for sample in samples] == [
        GIVEN + "    return sum(xs)\n",
        WHOLE,
        WHOLE,
        GIVEN,
    ]
    assert all(sample.problem is PROBLEM for sample in samples)


def test_a_line_without_a_text_counts_as_an_empty_completion(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = [
        {"completion": "    return sum(xs)\n"},
        {"completion": None},
        {},
        {"solution": None, "code": None},
        {"completion": " \n"},
        {"code": ""},
    ]
    file = write(tmp_path / "s.jsonl", *({"task_id": "Sums/1", **line} for line in lines))

    samples = read_samples(file, [PROBLEM])

    assert [sample.empty for sample in samples] == [False, True, True, True, True, True]
    assert [sample.program for sample in samples[1:4]] == [GIVEN] * 3


def test_a_file_in_which_no_line_has_a_text_is_none_of_samples(tmp_path: Path) -> None:
    file = write(tmp_path / "s.jsonl", *[{"task_id": "Sums/1", "generation": "x"}] * 2)

    with pytest.raises(DataError, match="line 1, field 'completion': is missing in every line; "):
        read_samples(file, [PROBLEM])


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ({"completion": ""}, "field 'task_id': is missing"),
        (
            {"task_id": "Sums/l", "completion": ""},
            "'Sums/l' in this data set (--dataset); did you mean 'Sums/1'",
        ),
        ({"task_id": "Sums/1", "completion": 3}, "field 'completion': must be text, not a number"),
        ({"task_id": "Sums/1", "code": ["x"]}, "field 'code': must be text, not a list"),
        (["Sums/1", ""], "a list instead of an object"),
    ],
)
def test_a_line_that_is_no_sample_is_named(tmp_path: Path, line: object, complaint: str) -> None:
    file = write(tmp_path / "s.jsonl", {"task_id": "Sums/1", "completion": ""}, line)

    with pytest.raises(DataError) as error:
        read_samples(file, [PROBLEM])

    assert str(error.value).startswith(f"{file}, line 2")
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        GIVEN,
        GIVEN.rstrip(),
        "def total(xs):\n",
        "def total(xs):\n    ",
        'def total(xs):\n    """Add up.\n',
        "import math",
        "",
    ],
)
def test_a_completion_of_any_given_code_means_the_program(given: str) -> None:
    completion = continuation(given, WHOLE)
    assert value_of(given + completion) == 3
    problem = evolve(PROBLEM, given_code=given)
    program, extracted = completed_program(problem, completion)
    assert (value_of(program), extracted) == (3, False)


def test_a_program_that_begins_with_the_given_code_goes_on_after_it() -> None:
    assert continuation(GIVEN, GIVEN + BODY) == BODY
    assert continuation("(", WHOLE) == f"\n{WHOLE}"  # no completion makes this a program
