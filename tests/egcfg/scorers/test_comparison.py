"""The rule by which an output counts as the expected one."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.interfaces.problem import Comparison, IgnoredWhitespace
from egcfg.scorers.comparison import first_difference

CHARACTERS = "aA1 \t\v\f\r\n\x1c\x85\u2028\u3000."
texts = st.text(CHARACTERS, max_size=12) | st.text(max_size=6)


def same(printed: str, expected: str, **rule: Any) -> bool:
    return first_difference(printed, expected, Comparison(**rule)) is None


def lines_without(text: str, blanks: str) -> str:
    """Apply the default rule by a pattern instead of by lines."""
    return re.sub(rf"[{blanks}]+(?=\n|\Z)", "", text).rstrip("\n")


@given(texts, texts)
def test_by_default_trailing_whitespace_makes_no_difference(printed: str, expected: str) -> None:
    as_wanted = lines_without(printed, " \t\v\f\r") == lines_without(expected, " \t\v\f\r")
    assert same(printed, expected) == as_wanted


@given(texts, texts)
def test_with_all_whitespace_ignored_only_tokens_count(printed: str, expected: str) -> None:
    tokens = [
        re.split(r"[ \t\v\f\r\n]+", text.strip(" \t\v\f\r\n")) for text in (printed, expected)
    ]
    assert same(printed, expected, ignore_whitespace="all") == (tokens[0] == tokens[1])


@given(texts, texts)
def test_with_none_ignored_only_the_kind_of_line_end_is(printed: str, expected: str) -> None:
    as_wanted = printed.replace("\r\n", "\n") == expected.replace("\r\n", "\n")
    assert same(printed, expected, ignore_whitespace="none") == as_wanted


@given(texts, texts)
def test_what_ignores_more_takes_whatever_ignores_less_takes(printed: str, expected: str) -> None:
    taken = [same(printed, expected, ignore_whitespace=rule) for rule in IgnoredWhitespace]
    assert taken == sorted(taken)
    for rule in IgnoredWhitespace:
        strict = same(printed, expected, ignore_whitespace=rule)
        for looser in ({"ignore_case": True}, {"absolute_tolerance": 0.5}):
            assert same(printed, expected, ignore_whitespace=rule, **looser) >= strict


@given(texts, st.sampled_from(IgnoredWhitespace), st.booleans(), st.sampled_from([0.0, 1e-6]))
def test_every_output_is_the_same_as_itself(
    text: str, rule: IgnoredWhitespace, case: bool, tolerance: float
) -> None:
    assert same(text, text, ignore_whitespace=rule, ignore_case=case, relative_tolerance=tolerance)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(-2, 2))
def test_a_number_may_be_as_far_away_as_the_tolerance(expected: float, factor: float) -> None:
    printed = expected + factor * 1e-3
    within = abs(printed - expected) <= 1e-3
    assert same(repr(printed), repr(expected), absolute_tolerance=1e-3) == within


@pytest.mark.parametrize(
    ("printed", "expected", "rule", "right"),
    [
        ("a  b", "a b", {}, False),
        ("a  b", "a b", {"ignore_whitespace": "inline"}, True),
        ("  a\tb ", "a b", {"ignore_whitespace": "inline"}, True),
        ("ab", "a b", {"ignore_whitespace": "inline"}, False),
        ("a\nb", "a b", {"ignore_whitespace": "inline"}, False),
        ("a\n\nb", "a\nb", {"ignore_whitespace": "inline"}, False),
        ("a\nb", "a b", {"ignore_whitespace": "all"}, True),
        ("a\n\n\nb", "a\nb\n", {"ignore_whitespace": "all"}, True),
        ("ab", "a b", {"ignore_whitespace": "all"}, False),
        ("a", "a\n", {"ignore_whitespace": "none"}, False),
        ("a \n", "a\n", {"ignore_whitespace": "none"}, False),
        ("a\r\n", "a\n", {"ignore_whitespace": "none"}, True),
        ("YES", "Yes", {}, False),
        ("YES\nno", "Yes\nNo", {"ignore_case": True}, True),
        ("YES", "Yess", {"ignore_case": True}, False),
        ("1.0000001", "1", {}, False),
        ("1.0000001", "1", {"absolute_tolerance": 1e-6}, True),
        ("1.00001", "1", {"absolute_tolerance": 1e-6}, False),
        ("1000001", "1000000", {"absolute_tolerance": 1e-6}, False),
        ("1000001", "1000000", {"relative_tolerance": 1e-6}, True),
        ("0.000001", "0", {"relative_tolerance": 1e-6}, False),
        ("0.000001", "0", {"relative_tolerance": 1e-6, "absolute_tolerance": 1e-6}, True),
        ("x = 0.5000001 cm", "x = .5 cm", {"absolute_tolerance": 1e-6}, True),
        ("x = 0.5 mm", "x = .5 cm", {"absolute_tolerance": 1e-6}, False),
        ("1 2", "1 2 3", {"absolute_tolerance": 1e-6}, False),
        ("1 2\n", "1\n2\n", {"absolute_tolerance": 1e-6}, False),
        ("1  2.0", "1 2", {"absolute_tolerance": 1e-6}, False),
        ("1  2.0", "1 2", {"absolute_tolerance": 1e-6, "ignore_whitespace": "inline"}, True),
        ("1\n2.0", "1 2", {"absolute_tolerance": 1e-6, "ignore_whitespace": "all"}, True),
        ("1e3", "1000.0", {"absolute_tolerance": 1e-6}, True),
        ("1E3 YES", "1000.0 yes", {"absolute_tolerance": 1e-6, "ignore_case": True}, True),
        ("nan", "1", {"absolute_tolerance": 9}, False),
        ("nan", "nan", {"absolute_tolerance": 9}, True),
        ("inf", "1e999", {"relative_tolerance": 1}, False),
        ("1e999", "1e998", {"relative_tolerance": 1}, False),
        ("5", "1e999", {"relative_tolerance": 1}, False),
        ("1_0", "10", {"absolute_tolerance": 1}, False),
        ("0x10", "16", {"absolute_tolerance": 1}, False),
        ("\u0661", "1", {"absolute_tolerance": 1}, False),
        ("True", "1", {"absolute_tolerance": 1}, False),
        ("-0", "0", {"absolute_tolerance": 1e-9}, True),
    ],
)
def test_each_option_ignores_what_it_says_and_nothing_else(
    printed: str, expected: str, rule: dict[str, Any], right: bool
) -> None:
    assert same(printed, expected, **rule) == right


@pytest.mark.parametrize(
    ("printed", "expected", "rule", "said"),
    [
        ("a\nb", "a\nc", {}, "line 2 is 'b', not 'c'"),
        ("a\nb", "a", {}, "it printed 2 lines, not 1"),
        ("", "a\nb", {}, "it printed 0 lines, not 2"),
        ("a b", "a\nc", {"ignore_whitespace": "all"}, "token 2 is 'b', not 'c'"),
        ("a" * 999, "b", {}, f"line 1 is {'a' * 80!r}, not 'b'"),
    ],
)
def test_the_first_difference_is_told(
    printed: str, expected: str, rule: dict[str, Any], said: str
) -> None:
    assert first_difference(printed, expected, Comparison(**rule)) == said


@pytest.mark.parametrize(
    "rule", [{"absolute_tolerance": -1}, {"relative_tolerance": -1}, {"ignore_whitespace": "some"}]
)
def test_a_rule_that_is_none_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be >= 0|is not a valid"):
        Comparison(**rule)


@pytest.mark.parametrize(
    "printed",
    [
        "1" * 500_000 + "x",
        "1" * 500_000 + ".",
        "1" * 500_000,
        "." + "1" * 500_000 + "e" + "1" * 500_000,
        "1e" * 500_000,
        " " * 500_000 + "1",
        "1 " * 300_000,
        ("1" + " " * 99) * 5_000,
        "\r" * 500_000 + "1",
        "\r\n" * 300_000 + "1",
    ],
)
def test_no_output_takes_time_that_grows_with_its_square(printed: str) -> None:
    for whitespace in IgnoredWhitespace:
        tolerant = Comparison(relative_tolerance=0.5, ignore_whitespace=whitespace)
        assert first_difference(printed, "500", tolerant) is not None
