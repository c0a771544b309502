import attrs
import pytest

from egcfg.interfaces.scorer import Score, TestStatus
from egcfg.runs.results import Result


def test_a_result_is_what_the_solution_was(make_solution):
    statuses = (TestStatus.PASSED, TestStatus.TIMEOUT, TestStatus.PASSED)
    result = Result.of_solution(make_solution(statuses))
    assert [verdict.passed for verdict in result.tests.values()] == [True, False, True]
    assert not result.passed
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.has_testcase_error
    assert result.stats is not None
    assert result.stats.input_tokens == 100
    assert result.stats.total_usage.forward_passes == 8


def test_a_failed_assert_is_no_testcase_error(make_solution):
    result = Result.of_solution(make_solution((TestStatus.FAILED,)))
    assert not result.has_testcase_error


def test_equal_tests_keep_a_verdict_each(make_solution):
    solution = make_solution((TestStatus.PASSED, TestStatus.FAILED))
    one, other = solution.score.results
    score = Score(results=(one, attrs.evolve(other, name=one.name)))
    result = Result.of_solution(attrs.evolve(solution, score=score))
    assert list(result.tests) == [one.name, f"{one.name} (2)"]
    assert result.accuracy == 0.5
