import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.errors import ContextOverflowError
from egcfg.interfaces.scorer import Score, TestStatus
from egcfg.interfaces.usage import Usage
from egcfg.runs.result_file import MalformedResultError, dump_result, load_result
from egcfg.runs.results import Result, ResultStats, TestVerdict

text = st.text(st.characters(exclude_categories=["Cs"]))
counts = st.integers(0, 2**40)
seconds = st.floats(0, 1e9)
results = st.builds(
    Result,
    code=text,
    tests=st.dictionaries(
        text,
        st.builds(
            TestVerdict,
            passed=st.booleans(),
            seconds=seconds,
            error=st.none() | text,
            status=st.none() | st.sampled_from([str(status) for status in TestStatus]),
        ),
        max_size=3,
    ),
    passed=st.booleans(),
    accuracy=st.floats(0, 1),
    general_error=st.none() | text,
    has_testcase_error=st.booleans(),
    stats=st.none()
    | st.builds(
        ResultStats,
        start_time=st.none() | text,
        end_time=st.none() | text,
        input_tokens=counts,
        output_tokens=counts,
        seconds=seconds,
        execution_seconds=seconds,
        usage=st.dictionaries(
            text, st.builds(Usage, forward_passes=counts, requests=counts, seconds=seconds)
        ),
        signals=counts,
        signals_cut=counts,
        signals_empty=counts,
        tokens_changed=counts,
        tokens_drafted=counts,
        uncertain_choices=counts,
        near_ties=counts,
        rollbacks=counts,
    ),
    packages=st.lists(text, max_size=2).map(tuple),
    global_cached=st.booleans(),
    response=st.none() | text,
    finish=st.none() | text,
    problem_sha256=st.none() | text,
    tests_seen=st.none() | st.lists(text, max_size=2).map(tuple),
    resolved=st.dictionaries(text, text, max_size=2),
    sandbox=st.none() | st.dictionaries(text, text, max_size=2),
    extra=st.dictionaries(text.map("x_".__add__), st.integers(0, 9), max_size=2),
)


@given(results)
def test_every_result_reads_back_as_it_was_written(result):
    assert load_result(dump_result(result)) == result


def test_the_file_has_exactly_the_published_fields_and_the_added_ones(make_solution, request):
    solution = make_solution((TestStatus.PASSED, TestStatus.FAILED))
    written = dump_result(Result.of_solution(solution, "0" * 64))
    golden = request.path.with_name("golden") / "result.json"
    assert written.decode() == golden.read_text().rstrip("\n")
    published = ["code", "results", "passed", "accuracy", "general_error", "has_testcase_error"]
    content = json.loads(written)
    assert list(content)[:7] == [*published, "stats"]
    stats = ["start_time", "end_time", "input_tokens", "output_tokens", "duration"]
    assert list(content["stats"])[:5] == stats


def test_text_that_json_cannot_hold_is_spelt_out():
    result = Result(
        code="s = '\udc80'", tests={"\ud800": TestVerdict(passed=False, error="\udfff")}
    )
    again = load_result(dump_result(result))
    assert again.code == r"s = '\udc80'"
    assert again.tests == {r"\ud800": TestVerdict(passed=False, error=r"\udfff")}


def test_a_problem_too_long_for_the_model_is_not_solved_and_says_why(make_solution):
    solution = make_solution()
    error = ContextOverflowError(needed=9000, available=4096)
    result = Result.of_overflow(error, solution.started, solution.ended)
    again = load_result(dump_result(result))
    assert not again.passed
    assert "9000 tokens" in (again.general_error or "")


OLD = {
    "code": "def f(): pass",
    "results": {"assert f() == 1": {"result": True, "time": 0.002, "error": None}},
    "passed": True,
    "accuracy": 1.0,
    "general_error": None,
    "has_testcase_error": False,
    "stats": {
        "start_time": "2025-04-03 10:11:12",
        "end_time": "2025-04-03 11:12:14",
        "input_tokens": 12000,
        "output_tokens": 80,
        "duration": "01:01:02",
    },
}


def read(content):
    return load_result(json.dumps(content).encode())


def test_a_file_of_the_first_tool_reads_well():
    result = read(OLD)
    assert (result.passed, result.accuracy, result.general_error) == (True, 1.0, None)
    assert result.tests == {"assert f() == 1": TestVerdict(passed=True, seconds=0.002)}
    assert result.stats == ResultStats(
        start_time="2025-04-03 10:11:12",
        end_time="2025-04-03 11:12:14",
        input_tokens=12000,
        output_tokens=80,
        seconds=3662.0,
    )


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("time", float("nan"), TestVerdict(passed=True)),
        ("time", "0.5 s", TestVerdict(passed=True)),
        ("error", ["a", 1], TestVerdict(passed=True, seconds=0.002, error='["a", 1]')),
        ("error", {"type": "ü"}, TestVerdict(passed=True, seconds=0.002, error='{"type": "ü"}')),
        ("error", float("nan"), TestVerdict(passed=True, seconds=0.002)),
        ("status", 3, TestVerdict(passed=True, seconds=0.002, status="3")),
    ],
)
def test_what_only_tells_about_a_verdict_never_costs_the_verdict(field, value, expected):
    (name,) = OLD["results"]
    old = {**OLD, "results": {name: {**OLD["results"][name], field: value}}}
    result = read(old)
    assert result.tests == {name: expected}
    assert (result.passed, result.code) == (True, OLD["code"])
    assert result.stats is not None
    assert result.stats.seconds == 3662.0
    assert load_result(dump_result(result)) == result


def test_numbers_that_are_none_are_as_good_as_absent():
    stats = {**OLD["stats"], "seconds": float("inf")}
    result = read({**OLD, "accuracy": float("nan"), "stats": stats})
    assert result.accuracy == 1.0
    assert result.stats is not None
    assert result.stats.seconds == 3662.0


def test_null_is_as_good_as_absent_in_known_fields_and_kept_in_others():
    stats = {**OLD["stats"], "input_tokens": None, "usage": {"guided": {"requests": None}}}
    result = read({**OLD, "has_testcase_error": None, "stats": stats, "note": {"a": None}})
    assert result.extra == {"note": {"a": None}}
    assert not result.has_testcase_error
    assert result.stats is not None
    assert result.stats.input_tokens == 0
    assert result.stats.usage == {"guided": Usage()}


def test_a_general_error_without_stats_is_a_failure():
    result = read({"general_error": "SyntaxError: invalid syntax"})
    assert not result.passed
    assert result.stats is None
    assert read({**OLD, "passed": None, "general_error": "no code"}).passed is False


@pytest.mark.parametrize("content", [{"global_cached": True}, {**OLD, "global_cached": True}])
def test_a_cached_entry_counts_as_solved_elsewhere(content):
    result = read(content)
    assert result.global_cached
    assert result.passed


def test_unknown_fields_and_counters_are_kept_or_passed_over():
    content = {**OLD, "trial": {"n": [1, 2]}, "note": "x"}
    content["stats"] = {**OLD["stats"], "usage": {"guided": {"forward_passes": 3, "later": 1}}}
    result = read(content)
    assert result.extra == {"trial": {"n": [1, 2]}, "note": "x"}
    assert json.loads(dump_result(result))["trial"] == {"n": [1, 2]}
    assert result.stats is not None
    assert result.stats.total_usage.forward_passes == 3


def test_an_added_field_never_hides_a_published_one():
    assert json.loads(dump_result(Result(passed=False, extra={"passed": True})))["passed"] is False


@pytest.mark.parametrize(
    ("duration", "expected"),
    [("00:00:07", 7), ("27:00:01", 97201), ("1 day, 2:03:04", 93784), ("0:00:01.500000", 1.5)],
)
def test_durations_of_all_spellings_are_understood(duration, expected):
    stats = read({**OLD, "stats": {"duration": duration}}).stats
    assert stats is not None
    assert stats.seconds == expected


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"passed": 1}',
        b'{"passed": "yes"}',
        b'{"passed": true, "results": {"a": true}}',
        b'{"passed": true, "stats": {"input_tokens": true}}',
        b'{"passed": true, "stats": {"usage": {"guided": {"seconds": "long"}}}}',
        b'{"passed": true, "code": 5}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_result_is_malformed(data):
    with pytest.raises(MalformedResultError):
        load_result(data)


fields = ["code", "results", "passed", "accuracy", "stats", "global_cached", "general_error"]
FIELDS_WITHIN = [*OLD["stats"], "usage", "result", "time", "error", "status"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            text | st.sampled_from(FIELDS_WITHIN),
            inner,
        )
    ),
    max_leaves=8,
)


@given(st.binary() | st.dictionaries(st.sampled_from(fields), json_values).map(json.dumps))
def test_whatever_is_in_a_file_it_is_a_result_or_malformed(content):
    data = content if isinstance(content, bytes) else content.encode()
    try:
        result = load_result(data)
    except MalformedResultError:
        return
    assert load_result(dump_result(result)) == result


def test_what_a_program_imported_in_any_test_is_in_the_file(make_solution):
    solution = make_solution((TestStatus.PASSED, TestStatus.PASSED))
    first, second = solution.score.results
    numpy = attrs.evolve(first, packages=("numpy==2.0", "pandas==3.0"))
    score = Score(results=[numpy, attrs.evolve(second, packages=("numpy==2.0",))])
    written = dump_result(Result.of_solution(attrs.evolve(solution, score=score)))
    assert json.loads(written)["packages"] == ["numpy==2.0", "pandas==3.0"]
    assert "packages" not in json.loads(dump_result(Result.of_solution(solution)))
