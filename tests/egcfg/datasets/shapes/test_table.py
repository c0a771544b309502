from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from egcfg.datasets.records import Record
from egcfg.datasets.shapes.table import SHAPES, problem_from_record, read_problems
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
        read_problems(path, strict=True)
    assert str(caught.value).startswith(f"{path}, line 2, ")


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (MBPP | {"test_list": []}, "'test_list': is empty"),
        (MBPP | {"test_list": ["assert f("]}, r"'test_list\[0\]': syntax error"),
        (MBPP | {"test_setup_code": "x ="}, "'test_setup_code': is no Python"),
        (MBPP | {"text": None}, "'text': is missing"),
        (HUMANEVAL | {"entry_point": "g"}, "'entry_point': no function 'g' in 'prompt'"),
        (HUMANEVAL | {"prompt": "def f(x)) -> 3"}, "'prompt': is not the beginning of a Python"),
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


# --- derived data sets --------------------------------------------------------------------------


def test_humaneval_et_scores_by_its_own_asserts(write: Write) -> None:
    record = HUMANEVAL | {"test_case_list": ["assert f(5) == 10", "assert f(6) == 12"]}
    (problem,) = read_problems(write(record))
    assert problem.visible_tests == (AssertTest("assert f(2) == 4"),)
    assert [test.name for test in problem.hidden_tests] == record["test_case_list"]
    assert problem.scorer == "asserts"


def test_given_tests_are_visible_and_the_check_is_not_called_twice(write: Write) -> None:
    record = HUMANEVAL | {
        "prompt": "def f(xs: List[int]) -> Optional[int]:\n    pass\n",
        "given_tests": ["assert f([1]) == 1", "f([2]) == 2"],
        "test": "def check(candidate):\n    assert candidate([3]) == 3\ncheck(f)\n",
    }
    (problem,) = read_problems(write(record))
    assert [t.name for t in problem.visible_tests] == ["assert f([1]) == 1", "assert f([2]) == 2"]
    (check,) = problem.hidden_tests
    assert isinstance(check, CheckTest)
    assert "check(f)" not in check.source
    assert problem.setup_code == "from typing import List, Optional"


def test_pairs_of_a_call_and_its_value_are_visible(write: Write) -> None:
    (problem,) = read_problems(write(HUMANEVAL | {"test_list": [["f(9)", "18"]]}))
    assert problem.visible_tests == (AssertTest("assert f(9) == 18"),)


def test_mbpp_et_shows_the_tests_of_mbpp_and_scores_by_all(write: Write) -> None:
    record = MBPP | {"test_case_list": ["assert f(0) == 0", "assert f(9) == 18"]}
    (problem,) = read_problems(write(record))
    assert len(problem.visible_tests) == 2
    assert [test.name for test in problem.hidden_tests] == [
        *(test.name for test in problem.visible_tests),
        "assert f(9) == 18",
    ]


def test_mbpp_plus_scores_by_its_script(write: Write) -> None:
    record = MBPP | {"test": "for x in range(9):\n    assert f(x) == 2 * x\n"}
    (problem,) = read_problems(write(record))
    (check,) = problem.hidden_tests
    assert isinstance(check, CheckTest)
    assert check.name == "plus check(f)"
    space: dict[str, Any] = {}
    exec(check.source, space)
    space["check"](lambda x: 2 * x)
    with pytest.raises(AssertionError):
        space["check"](lambda x: 4 if x == 2 else 0)


@pytest.mark.parametrize("visible", [0, 1, 2])
def test_the_first_asserts_are_visible_and_all_score(write: Write, visible: int) -> None:
    (problem,) = read_problems(write(MBPP), visible=visible)
    assert len(problem.visible_tests) == visible
    assert len(problem.scoring_tests) == 2


@pytest.mark.parametrize(
    ("prompt", "description"),
    [
        ("# Add one\ndef f(n):\n    # your code\n", "# Add one\ndef f(n):\n    # your code\n"),
        ("def f(n):\n", "def f(n):\n"),
        ('def f(n):\n    """Add one."""\n', "Add one."),
        ('def f(n):\n    """Add one.\n', "Add one."),
        ('"""Add one."""\nimport math\n', "Add one."),
        ("class f:\n    '''Adds.'''\n    def g(self):\n        ", "Adds."),
        ("async def f(n):\n    '''Add one.'''\n", "Add one."),
        ("x = 1\nif x:\n    def f(n):\n        '''Add one.'''\n", "Add one."),
    ],
)
def test_given_code_may_be_any_beginning_of_a_program(
    write: Write, prompt: str, description: str
) -> None:
    (problem,) = read_problems(write(HUMANEVAL | {"prompt": prompt}))
    assert problem.given_code == prompt
    assert problem.description.strip() == description.strip()


# --- what is left out is told -------------------------------------------------------------------


def test_a_record_that_cannot_be_used_is_named_and_left_out(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(OWN, MBPP | {"test_list": ["assert f("]}, HUMANEVAL)
    assert [problem.task_id for problem in read_problems(path)] == ["double", "HumanEval/0"]
    assert "line 2, field 'test_list[0]': syntax error" in caplog.text
    assert "1 of 3 records left out; --strict-data refuses such a file" in caplog.text
    with pytest.raises(DataError, match="line 2"):
        read_problems(path, strict=True)


def test_a_line_that_is_no_json_is_left_out_as_well(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(OWN)
    path.write_bytes(path.read_bytes() + b"{broken\n")
    assert len(read_problems(path)) == 1
    assert "line 2: no JSON" in caplog.text


@pytest.mark.parametrize("field", ["extra_tests", "test_inputs", "plus_input", "assertion"])
def test_a_field_of_tests_without_a_place_is_refused(write: Write, field: str) -> None:
    with pytest.raises(DataError, match=f"field '{field}': seems to hold tests"):
        read_problems(write(MBPP | {field: ["assert f(8) == 16"]}))


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.refused], ids=str)
def test_a_shape_that_cannot_be_judged_is_told_by_name(shape: Any) -> None:
    record = Record("a.jsonl", 1, dict.fromkeys(shape.told_by, "x"))
    with pytest.raises(DataError, match=f"this is {shape.name}, which egcfg cannot judge"):
        problem_from_record(record)


def test_an_unknown_shape_is_told_with_its_fields_and_the_known_ones() -> None:
    record = Record("a.jsonl", 1, {"id": 1, "body": "x"})
    with pytest.raises(DataError, match=r"no known shape \(its fields: id, body\).*MBPP") as caught:
        problem_from_record(record)
    assert "did you mean" not in str(caught.value)
