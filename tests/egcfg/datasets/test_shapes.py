from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from egcfg.datasets.shapes import OWN_FIELDS, read_problems
from egcfg.errors import DataError
from egcfg.interfaces.problem import (
    AssertTest,
    CheckTest,
    Comparison,
    IgnoredWhitespace,
    StdioTest,
)

Write = Callable[..., Path]

OWN: dict[str, Any] = {
    "task_id": "double",
    "description": "Double a number.",
    "tests": ["assert f(2) == 4"],
    "hidden_tests": ["assert f(-1) == -2"],
}
MBPP: dict[str, Any] = {
    "text": "Double a number.",
    "code": "def f(x):\r\n    return 2 * x",
    "task_id": 11,
    "test_setup_code": "import math\r\nHALF = 0.5",
    "test_list": ["assert math.isclose(f(2), 4) ", "assert f(0) == 0"],
    "challenge_test_list": [],
}
HUMANEVAL: dict[str, Any] = {
    "task_id": "HumanEval/0",
    "prompt": 'import math\n\n\ndef f(x: int):\n    """ Double it.\n    >>> f(2)\n    4\n    """\n',
    "entry_point": "f",
    "canonical_solution": "    return 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(7) == 14\n",
}
STDIO: dict[str, Any] = {
    "task_id": "echo",
    "prompt": "Print the line.",
    "tests": [{"input": "a\n", "output": "a\n"}],
}


def test_our_own_shape(write: Write) -> None:
    (problem,) = read_problems(write(OWN | {"setup_code": "import math", "difficulty": 3}))
    assert problem.task_id == "double"
    assert problem.description == "Double a number."
    assert problem.entry_point == "f"
    assert problem.visible_tests == (AssertTest("assert f(2) == 4"),)
    assert problem.hidden_tests == (AssertTest("assert f(-1) == -2"),)
    assert problem.setup_code == "import math"
    assert problem.scorer == "asserts"


def test_mbpp_shape_with_windows_line_ends(write: Write) -> None:
    (problem,) = read_problems(write(MBPP))
    assert problem.task_id == "11"
    assert problem.entry_point == "f"
    assert problem.setup_code == "import math\nHALF = 0.5"
    assert [t.name for t in problem.visible_tests] == [
        "assert math.isclose(f(2), 4)",
        "assert f(0) == 0",
    ]
    assert problem.hidden_tests == ()
    assert problem.scoring_tests == problem.visible_tests


def test_sanitized_mbpp_has_prompt_and_imports(write: Write) -> None:
    sanitized = {"prompt": "Double.", "task_id": 2, "test_imports": ["import math"]}
    (problem,) = read_problems(write(sanitized | {"test_list": ["assert f(math.pi) > 6"]}))
    assert (problem.description, problem.setup_code) == ("Double.", "import math")


def test_humaneval_shape(write: Write) -> None:
    (problem,) = read_problems(write(HUMANEVAL))
    assert problem.given_code == HUMANEVAL["prompt"]
    assert problem.description.startswith("Double it.")
    assert problem.visible_tests == (AssertTest("assert f(2) == 4"),)
    assert problem.hidden_tests == (CheckTest(HUMANEVAL["test"], "f"),)
    assert problem.scorer == "check"


def test_pairs_of_input_and_output(write: Write) -> None:
    (problem,) = read_problems(write(STDIO))
    assert problem.visible_tests == (StdioTest("a\n", "a\n"),)
    assert problem.entry_point is None
    assert problem.scorer == "stdio"


def test_shapes_may_be_mixed_in_a_file(write: Write) -> None:
    problems = read_problems(write(OWN, MBPP, HUMANEVAL, STDIO))
    assert [p.scorer for p in problems] == ["asserts", "asserts", "check", "stdio"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"task_id": None}, "field 'task_id': is missing"),
        ({"description": None}, "field 'description': is missing"),
        ({"description": 3}, "field 'description': must be text"),
        ({"tests": None, "hidden_tests": []}, "field 'tests': is missing or empty"),
        ({"tests": "assert f(2)"}, "field 'tests': must be a list"),
        ({"tests": ["assert f(2) = 4"]}, r"field 'tests\[0\]': syntax error in the test"),
        ({"hidden_tests": ["assert f(2)", "f(3)"]}, r"'hidden_tests\[1\]'.*one assert statement"),
        ({"tests": ["assert 2 == 2"]}, "no called function in common"),
        ({"entry_point": "g"}, "field 'entry_point': no test calls 'g'"),
        ({"hiden_tests": []}, "field 'hiden_tests': is not known; did you mean 'hidden_tests'"),
        ({"entry_point": "f", "test": []}, "field 'test': is not known; did you mean 'tests'"),
        ({"setup_code": "import"}, "field 'setup_code': is no Python"),
        ({"tests": [{"input": "", "output": ""}]}, "mixes asserts with inputs"),
        ({"tests": [{"input": "", "output": ""}, "assert f(1)"]}, r"'tests\[0\]': must be text"),
        ({"tests": [{"input": ""}], "hidden_tests": None}, r"'tests\[0\]': must have the keys"),
        ({"tests": [{"input": 3, "output": ""}]}, r"'tests\[0\]\.input': must be text, not a num"),
    ],
)
def test_a_fault_in_our_own_shape_names_file_line_and_field(
    write: Write, change: dict[str, Any], complaint: str
) -> None:
    path = write(OWN | {"task_id": "good"}, OWN | change)
    with pytest.raises(DataError, match=complaint) as caught:
        read_problems(path)
    assert str(caught.value).startswith(f"{path}, line 2, ")


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (MBPP | {"test_list": []}, "'test_list': is empty"),
        (MBPP | {"test_list": ["assert f("]}, r"'test_list\[0\]': syntax error"),
        (MBPP | {"test_setup_code": "x ="}, "'test_setup_code': is no Python"),
        (MBPP | {"text": None}, "'text': is missing"),
        (HUMANEVAL | {"entry_point": "g"}, "'entry_point': no function 'g' in 'prompt'"),
        (HUMANEVAL | {"prompt": "def f(x):"}, "'prompt': is no Python"),
        (HUMANEVAL | {"test": "assert f(1)"}, "'test': defines no function 'check'"),
        (HUMANEVAL | {"test": 3}, "'test': must be text"),
    ],
)
def test_a_fault_in_a_published_shape_is_named(
    write: Write, record: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        read_problems(write(record))


def test_two_problems_with_one_task_id_are_refused(write: Write) -> None:
    with pytest.raises(DataError, match="line 3, field 'task_id': '11' is taken by line 1"):
        read_problems(write(MBPP, OWN, OWN | {"task_id": "11"}))


def test_inputs_and_outputs_are_kept_as_they_are(write: Write) -> None:
    (problem,) = read_problems(write(STDIO | {"tests": [{"input": "a\r\nb", "output": "c\r\n"}]}))
    assert problem.visible_tests == (StdioTest("a\r\nb", "c\r\n"),)


def test_a_record_says_when_an_output_counts(write: Write) -> None:
    rule = {"absolute_tolerance": 1e-6, "ignore_case": True, "ignore_whitespace": "inline"}
    (problem,) = read_problems(write(STDIO | {"comparison": rule}))
    (test,) = problem.visible_tests
    assert isinstance(test, StdioTest)
    assert test.comparison == Comparison(
        absolute_tolerance=1e-6, ignore_case=True, ignore_whitespace=IgnoredWhitespace.INLINE
    )
    checker = "def check(input, output, expected):\n    return True\n"
    (problem,) = read_problems(write(STDIO | {"checker": checker, "hidden_tests": STDIO["tests"]}))
    assert {test.checker for test in problem.scoring_tests if isinstance(test, StdioTest)} == {
        checker
    }


@pytest.mark.parametrize("shape", [OWN, MBPP, HUMANEVAL, STDIO])
def test_a_record_of_any_shape_may_limit_time_and_memory(
    write: Write, shape: dict[str, Any]
) -> None:
    (limited,) = read_problems(write(shape | {"time_limit": 2, "memory_limit": 256.5}))
    assert (limited.time_limit, limited.memory_limit) == (2.0, 256.5)
    (usual,) = read_problems(write(shape | {"time_limit": None}))
    assert (usual.time_limit, usual.memory_limit) == (None, None)


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (OWN | {"time_limit": 0}, "field 'time_limit': must be a number above zero, not 0; "),
        (
            MBPP | {"time_limit": "2 s"},
            "field 'time_limit': must be a number above zero, not '2 s'",
        ),
        (HUMANEVAL | {"memory_limit": True}, "field 'memory_limit': must be a number above zero"),
        (STDIO | {"memory_limit": [1]}, "field 'memory_limit': must be a number above zero"),
        (STDIO | {"comparison": "exact"}, "field 'comparison': must be an object, such as"),
        (STDIO | {"comparison": {"ignore_cases": 1}}, "has no option 'ignore_cases'; did you mean"),
        (STDIO | {"comparison": {"ignore_whitespace": "some"}}, "'some' is not possible"),
        (STDIO | {"comparison": {"relative_tolerance": -1}}, "must be >= 0"),
        (STDIO | {"checker": "x = 1"}, "field 'checker': defines no function 'check'; add"),
        (STDIO | {"checker": "def check("}, "field 'checker': is no Python"),
        (STDIO | {"checkers": ""}, "field 'checkers': is not known; did you mean 'checker'"),
        (OWN | {"checker": "x"}, "field 'checker': is for tests of inputs and outputs; leave it"),
        (OWN | {"comparison": {}}, "field 'comparison': is for tests of inputs and outputs; leave"),
    ],
)
def test_a_limit_or_a_rule_that_is_none_is_named(
    write: Write, record: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(DataError) as error:
        read_problems(write(record))
    assert complaint in str(error.value)
    assert "line 1, field" in str(error.value)


def test_the_documented_records_are_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "problems.md").read_text(encoding="utf-8")
    records = re.findall(r"```json\n(.+?)```", page, re.DOTALL)
    file = tmp_path / "documented.jsonl"
    file.write_text("".join(records), encoding="utf-8")

    half, factors = read_problems(file)

    assert (half.time_limit, half.memory_limit) == (2, 256)
    assert all(isinstance(test, StdioTest) and test.comparison for test in half.scoring_tests)
    assert all(isinstance(test, StdioTest) and test.checker for test in factors.scoring_tests)
    assert all(f"| `{field}` |" in page for field in OWN_FIELDS if field not in ("prompt", "text"))
