from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve

from egcfg.assembly import component_options, open_problems
from egcfg.config import RunConfig
from egcfg.config.schema import OptionValue
from egcfg.hookspecs import Kind
from egcfg.plan import plan_run


@pytest.fixture
def mbpp_file(tmp_path: Path) -> Path:
    """Tasks 2 to 4, which are examples, and 11 to 12, which are problems; in MBPP's own shape."""
    rows = [
        {
            "task_id": number,
            "text": f"Write a function to add {number}.",
            "code": f"def f(x):\n    return x + {number}",
            "test_list": [f"assert f(1) == {1 + number}"],
            "test_setup_code": "",
            "challenge_test_list": [],
        }
        for number in (2, 3, 4, 11, 12)
    ]
    path = tmp_path / "mbpp.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(mbpp_file: Path, **values: object) -> RunConfig:
    base = RunConfig(dataset="mbpp", data=mbpp_file, prompt=("deepseek_instruct",))
    return evolve(base, **values)


def test_a_run_on_mbpp_takes_its_worked_examples_from_mbpp(mbpp_file: Path) -> None:
    options = component_options(config(mbpp_file), Kind.PROMPT, "deepseek_instruct")
    assert options == {"examples_path": mbpp_file}


def test_prompts_without_examples_and_other_data_sets_take_none(mbpp_file: Path) -> None:
    assert component_options(config(mbpp_file), Kind.PROMPT, "chat") == {}
    other = config(mbpp_file, dataset="jsonl")
    assert component_options(other, Kind.PROMPT, "deepseek_instruct") == {}


def test_a_file_of_examples_given_by_hand_wins(mbpp_file: Path) -> None:
    given = OptionValue(
        kind=Kind.PROMPT, component="", name="examples_path", value="other.jsonl", origin="-o"
    )
    chosen = config(mbpp_file, options=(given,))
    options = component_options(chosen, Kind.PROMPT, "deepseek_instruct")
    assert options == {"examples_path": "other.jsonl"}


def test_a_results_folder_pins_where_examples_came_from_but_not_where_they_lie(
    mbpp_file: Path, tmp_path: Path
) -> None:
    pins = []
    for path in (mbpp_file, tmp_path / "moved.jsonl"):
        mbpp_file.replace(path)
        chosen = config(path)
        plan = plan_run(chosen, open_problems(chosen), "model")
        pins.append(plan.pins_for("deepseek_instruct")["prompt"])
    assert pins[0] == pins[1] == {"name": "deepseek_instruct", "examples": "MBPP 2, 3, 4"}


def test_a_deadline_is_not_pinned_but_a_top_k_is(mbpp_file: Path) -> None:
    def option(name: str, value: object) -> OptionValue:
        return OptionValue(kind=Kind.BACKEND, component="", name=name, value=value, origin="-o")

    chosen = config(
        mbpp_file, backend="openai", options=(option("timeout_s", 5.0), option("top_k", 10))
    )
    plan = plan_run(chosen, open_problems(chosen), "model")
    assert plan.pins_for("chat")["backend"] == {"name": "openai", "top_k": 10}
