"""What every harness asks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import egcfg
from egcfg import AssertTest, CheckTest, DecoderTests, Problem, StdioTest
from egcfg.errors import ConfigError, UnknownNameError, UsageError
from egcfg.harnesses.model import Ask, HarnessModel, harness_config, seen_alone


def test_settings_and_options_come_by_name() -> None:
    values = {"gamma": 0.5, "decoder_tests": "docstring", "backend.weights": "int8"}
    config = harness_config(values)
    assert (config.gamma, config.decoder_tests) == ((0.5,), DecoderTests.DOCSTRING)
    [option] = config.options
    assert (option.kind, option.name, option.value) == ("backend", "weights", "int8")
    assert harness_config({}).gamma == (1.0,)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"gama": 1}, "no setting named 'gama'; did you mean 'gamma'?"),
        ({"gamma": "much"}, "--gamma: "),
        ({"decoder_tests": "hidden"}, "--decoder-tests: "),
    ],
)
def test_a_wrong_setting_is_told(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        harness_config(values)


def test_a_harness_asks_one_configuration() -> None:
    with pytest.raises(ConfigError, match=r"these are 2: .*gamma 0\.5; .*gamma 1; give one gamma"):
        HarnessModel(harness_config({"gamma": [0.5, 1.0]}))
    with pytest.raises(UnknownNameError, match="no method named 'egcgf'; did you mean 'egcfg'"):
        HarnessModel(harness_config({"method": "egcgf"}))


def test_a_method_has_all_configurations_as_its_one_way(values: dict[str, Any]) -> None:
    model = HarnessModel(harness_config(values | {"method": "cascade", "gamma": [0, 1]}))
    assert model.told["gamma"] == [0.0, 1.0]
    model.close()


@pytest.mark.parametrize(
    ("visible", "entry_point", "scorer"),
    [
        ([AssertTest("assert f(2) == 4")], "f", "asserts"),
        ([], "f", "asserts"),
        ([], None, "stdio"),
        ([StdioTest("2", "4")], None, "stdio"),
    ],
)
def test_a_problem_comes_without_hidden_tests_and_can_still_be_judged(
    visible: list[Any], entry_point: str | None, scorer: str
) -> None:
    hidden = CheckTest("def check(candidate):\n    assert candidate(7) == 14\n", "f")
    whole = Problem(
        task_id="t",
        description="Double it.",
        entry_point=entry_point,
        visible_tests=visible,
        hidden_tests=[hidden],
        scorer="stdio" if entry_point is None else "check",
    )
    seen = seen_alone(whole)
    assert (seen.hidden_tests, seen.visible_tests) == ((), tuple(visible))
    assert seen.scorer == scorer


@pytest.mark.parametrize(("tests", "count"), [("visible", 1), ("docstring", 1), ("none", 0)])
def test_a_run_says_which_tests_the_decoder_executes(
    values: dict[str, Any], record: dict[str, Any], tests: str, count: int
) -> None:
    model = HarnessModel(harness_config(values | {"decoder_tests": tests}))
    problem = model.problem(record)
    assert len(problem.visible_tests) == count
    assert "14" not in repr(problem)
    assert problem.hidden_tests == ()
    assert model.told["decoder_tests"] == tests
    assert f"decoder_tests {tests}" in str(model)
    [[solution]] = model.answers([Ask(problem=problem)])
    assert len(solution.tests_seen) == count
    model.close()


def test_answers_come_in_the_order_of_the_questions_and_are_the_same_again(
    model: HarnessModel, record: dict[str, Any]
) -> None:
    problems = [model.problem(record | {"task_id": f"t/{number}"}) for number in range(5)]
    solved: list[int] = []
    found = model.answers([Ask(problem=problem) for problem in problems], solved.append)
    assert [solution.task_id for [solution] in found] == [p.task_id for p in problems]
    assert sorted(solved) == [0, 1, 2, 3, 4]
    [[again]] = model.answers([Ask(problem=problems[3])])
    assert again.code == found[3][0].code


def test_the_harness_limits_tokens_and_chooses_temperature_and_seeds(
    model: HarnessModel, record: dict[str, Any]
) -> None:
    problem = model.problem(record)
    [few, many, hot] = model.answers(
        [
            Ask(problem=problem, max_tokens=3),
            Ask(problem=problem, max_tokens=1000),
            Ask(problem=problem, n=3, temperature=1.5, seed=7),
        ]
    )
    assert few[0].settings.max_tokens == 3
    assert len(few[0].generation.ids) <= 3
    assert many[0].settings.max_tokens == 24
    assert [(each.settings.seed, each.settings.guided_temperature) for each in hot] == [
        (7, 1.5),
        (8, 1.5),
        (9, 1.5),
    ]
    assert len({each.generation.response for each in hot}) > 1


def test_what_is_spent_is_counted(model: HarnessModel, record: dict[str, Any]) -> None:
    before = model.spent
    [[solution]] = model.answers([Ask(problem=model.problem(record))])
    usage = solution.generation.total_usage
    assert usage.output_tokens > 0
    assert model.spent.output_tokens == before.output_tokens + usage.output_tokens


def test_a_problem_that_the_model_cannot_hold_has_no_answer_and_a_warning(
    model: HarnessModel, record: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    long = model.problem(record | {"prompt": "# much\n" * 5000 + record["prompt"]})
    assert model.answers([Ask(problem=long), Ask(problem=model.problem(record))])[0] == []
    assert "needs" in caplog.text


def test_a_time_limit_of_no_time_has_an_answer_without_code(
    model: HarnessModel, record: dict[str, Any]
) -> None:
    [[solution]] = model.answers([Ask(problem=model.problem(record), seconds=0.0)])
    assert solution.code == ""
    assert not solution.passed


def test_it_answers_on_any_loop_of_asyncio(model: HarnessModel, record: dict[str, Any]) -> None:
    ask = Ask(problem=model.problem(record))
    [first] = asyncio.run(model.answer(ask))
    [second] = asyncio.run(model.answer(ask))
    assert first.code == second.code


def test_a_closed_model_refuses(values: dict[str, Any], record: dict[str, Any]) -> None:
    model = HarnessModel(harness_config(values))
    problem = model.problem(record)
    model.close()
    with pytest.raises(UsageError, match="this engine is closed"):
        model.answers([Ask(problem=problem)])
    assert issubclass(ConfigError, egcfg.EgcfgError)
