"""Which tests the decoder may execute: a setting, which narrows what a data set makes visible."""

from __future__ import annotations

import enum

from attrs import evolve

from egcfg.datasets.docstring_examples import docstring_asserts
from egcfg.interfaces.problem import AssertTest, Problem

__all__ = ["DecoderTests", "with_decoder_tests"]


class DecoderTests(enum.StrEnum):
    """Which tests the decoder may execute and show to the model; hidden ones never.

    ``VISIBLE``: those that the data set makes visible. ``DOCSTRING``: only the examples in the
    docstring of the given code. ``NONE``: none, so that nothing can be executed or guide.
    """

    VISIBLE = "visible"
    DOCSTRING = "docstring"
    NONE = "none"


def with_decoder_tests(problem: Problem, tests: DecoderTests) -> Problem:
    """Return a problem with those of its visible tests that the decoder may execute.

    What decides about a solution stays the same.
    """
    if tests is DecoderTests.VISIBLE:
        return problem
    visible: list[AssertTest] = []
    if tests is DecoderTests.DOCSTRING and problem.entry_point is not None:
        examples = docstring_asserts(problem.given_code, problem.entry_point)
        visible = [AssertTest(example) for example in examples]
    return evolve(problem, visible_tests=visible, hidden_tests=problem.scoring_tests)
