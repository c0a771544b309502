from __future__ import annotations

from pathlib import Path

import attrs
import orjson
import pytest

from egcfg.errors import DataError
from egcfg.interfaces.problem import Problem
from egcfg.prompts.deepseek_instruct import DeepseekInstructPrompt
from egcfg.prompts.worked_examples import OWN_EXAMPLES, WorkedExample


@pytest.fixture
def mbpp(tmp_path: Path) -> Path:
    path = tmp_path / "mbpp.jsonl"
    rows = [
        {
            "task_id": n,
            "text": f"Published task {n}.",
            "code": f"def g{n}():\r\n    return {n}",
            "test_list": [f"assert g{n}() == {n}"],
        }
        for n in (1, 2, 3, 4, 5)
    ]
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return path


def text_of(problem: Problem, path: Path | None = None) -> str:
    builder = DeepseekInstructPrompt(DeepseekInstructPrompt.Options(examples_path=path))
    return builder.build(problem).unconditional().text


def test_the_parts_stand_in_the_format_that_the_models_know(double: Problem) -> None:
    text = text_of(double)
    assert text.index("### Instruction:\n") < text.index(double.description)
    assert text.endswith("\n### Response:\n```python\n")
    assert text.count("### ") == 2


def test_examples_are_mbpp_tasks_2_to_4_where_the_file_is_at_hand(
    double: Problem, mbpp: Path
) -> None:
    text = text_of(double, mbpp)
    assert [n for n in range(1, 6) if f"Published task {n}." in text] == [2, 3, 4]
    assert "```python\ndef g2():\n    return 2\n```" in text
    assert OWN_EXAMPLES[0].description not in text


def test_our_own_examples_otherwise(double: Problem) -> None:
    text = text_of(double)
    assert len(OWN_EXAMPLES) == 3
    for example in OWN_EXAMPLES:
        assert example.description in text
        assert example.code in text


@pytest.mark.parametrize("example", OWN_EXAMPLES, ids=lambda e: e.description)
def test_our_own_examples_are_right(example: WorkedExample) -> None:
    space: dict[str, object] = {}
    exec(example.code, space)
    for test in example.tests:
        exec(test.name, space)


def test_an_example_that_is_the_task_itself_is_left_out(double: Problem, mbpp: Path) -> None:
    task = attrs.evolve(double, description="Published task 3.")
    text = text_of(task, mbpp)
    assert "return 3" not in text
    assert "Example 2:" in text
    assert "Example 3:" not in text


def test_a_file_without_one_of_the_examples_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.jsonl"
    path.write_bytes(orjson.dumps({"task_id": 2, "text": "x", "test_list": ["assert f()"]}))
    with pytest.raises(DataError, match="lacks one of the tasks 2, 3 and 4"):
        DeepseekInstructPrompt(DeepseekInstructPrompt.Options(examples_path=path))
