"""Which tests the decoder may execute, and problems of records that others loaded."""

from __future__ import annotations

from typing import Any

import pytest

import egcfg
from egcfg import AssertTest, CheckTest, DecoderTests, StdioTest
from egcfg.config.schema import RunConfig
from egcfg.datasets.selection import open_problems
from egcfg.errors import DataError

PROMPT = 'def f(x: int):\n    """Double it.\n    >>> f(2)\n    4\n    """\n'
CHECK = "def check(candidate):\n    assert candidate(7) == 14\n"
HUMANEVAL = {"task_id": "HumanEval/0", "prompt": PROMPT, "entry_point": "f", "test": CHECK}
REFERENCE = {"canonical_solution": "    return 2 * x\n", "contract": "", "atol": 0}
INPUTS = {"base_input": [[2]], "plus_input": [[7]]}
MBPP = {"task_id": 11, "text": "Double it.", "test_list": ["assert f(2) == 4"]}
CONTEST = {
    "name": "double",
    "description": "Double it.",
    "public_tests": {"input": ["2\n"], "output": ["4\n"]},
    "private_tests": {"input": ["7\n"], "output": ["14\n"]},
    "generated_tests": {"input": [], "output": []},
}
SHAPES: dict[str, dict[str, Any]] = {
    "HumanEval": HUMANEVAL,
    "HumanEval+": HUMANEVAL | REFERENCE | INPUTS,
    "MBPP": MBPP,
    "sanitized MBPP": {"task_id": 2, "prompt": "Double it.", "test_imports": [], **MBPP},
    "MBPP+": {**REFERENCE, **INPUTS, "assertion": "assert f(2) == 4", "entry_point": "f"}
    | {"task_id": "Mbpp/2", "prompt": '"""\nDouble it.\nassert f(2) == 4\n"""\n'}
    | {"canonical_solution": "def f(x):\n    return 2 * x\n"},
    "CodeContests": CONTEST,
    "one's own": {"task_id": "own", "description": "Double it.", "tests": ["assert f(2) == 4"]},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_record_of_every_shape_becomes_a_problem_with_tests_to_execute(shape: str) -> None:
    problem = egcfg.problem_from(SHAPES[shape])
    assert "Double it." in problem.description
    assert problem.visible_tests
    assert problem.scoring_tests


def test_a_record_of_no_known_shape_is_refused_by_its_fields() -> None:
    with pytest.raises(DataError, match=r"no known shape \(its fields: question, answer\)"):
        egcfg.problem_from({"question": "Why?", "answer": "42"})


@pytest.mark.parametrize("tests", DecoderTests)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_scores_is_the_same_whatever_the_decoder_may_execute(
    shape: str, tests: DecoderTests
) -> None:
    whole = egcfg.problem_from(SHAPES[shape])
    problem = egcfg.problem_from(SHAPES[shape], decoder_tests=tests)
    assert problem.scoring_tests == whole.scoring_tests
    assert set(problem.visible_tests) <= set(whole.visible_tests)


def test_docstring_leaves_its_examples_and_none_leaves_nothing() -> None:
    record = HUMANEVAL | {"test_list": [["f(3)", "6"]]}
    seen = {t: egcfg.problem_from(record, decoder_tests=t).visible_tests for t in DecoderTests}
    assert seen == {
        DecoderTests.VISIBLE: (AssertTest("assert f(3) == 6"),),
        DecoderTests.DOCSTRING: (AssertTest("assert f(2) == 4"),),
        DecoderTests.NONE: (),
    }
    assert egcfg.problem_from(MBPP, decoder_tests="docstring").visible_tests == ()
    with pytest.raises(ValueError, match="hidden"):
        egcfg.problem_from(record, decoder_tests="hidden")


def test_hidden_tests_are_of_kinds_that_a_decoder_never_gets() -> None:
    problem = egcfg.problem_from(HUMANEVAL)
    assert problem.hidden_tests == (CheckTest(CHECK, "f"),)
    assert not hasattr(problem.task, "hidden_tests")
    contest = egcfg.problem_from(CONTEST)
    assert contest.visible_tests == (StdioTest("2\n", "4\n"),)
    assert StdioTest("7\n", "14\n") in contest.hidden_tests


def test_a_run_has_the_setting_and_every_problem_follows_it() -> None:
    config = RunConfig(dataset="quickstart", decoder_tests=DecoderTests.NONE)
    problems = open_problems(config)
    assert problems
    for problem in problems:
        assert problem.visible_tests == ()
        assert problem.scoring_tests
