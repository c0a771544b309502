from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from attrs import evolve

from egcfg.config import Order, RunConfig
from egcfg.config.schema import OptionValue
from egcfg.decoding.settings import DecodingSettings
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.plugins.hookspecs import Kind
from egcfg.runs import plan
from egcfg.runs.plan import plan_run, planned_grid

PROBLEM = Problem(
    task_id="1", description="", entry_point="f", visible_tests=[AssertTest("assert f(1)")]
)


def test_the_provenance_is_found_out_once_per_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def component_provenance(_config: RunConfig, prompt: str) -> dict[str, Any]:
        asked.append(prompt)
        return {}

    monkeypatch.setattr(plan, "component_provenance", component_provenance)
    provenance_of: Callable[[str], object] = plan_run(RunConfig(), [PROBLEM], "model").provenance_of
    for prompt in ("chat", "long_code", "chat"):
        provenance_of(prompt)
    assert asked == ["chat", "long_code"]


def test_a_plan_keeps_its_results_under_data_set_and_model(tmp_path: Path) -> None:
    config = RunConfig(dataset="mine.jsonl", results_dir=tmp_path, backend="openai", model="org/m")
    made = plan_run(config, [PROBLEM], "org/m")
    assert made.folder.path == tmp_path / "mine" / "org_m"
    assert orjson.loads(orjson.dumps(made.provenance_of("chat")))["backend"]["model"] == "org/m"


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        ({}, "ns3t0.7d2_chat_ln"),
        ({"accept": "false"}, "ns3t0.7d2_chat_ln"),
        ({"accept": "yes"}, "ns3t0.7d2_chat_ln,accept=true"),
    ],
)
def test_a_folder_is_named_by_the_options_of_its_method_that_are_not_at_their_defaults(
    options: dict[str, str], folder: str
) -> None:
    config = RunConfig(
        options=[
            OptionValue(kind=Kind.METHOD, component="", name=name, value=value)
            for name, value in options.items()
        ]
    )
    [row] = planned_grid(config, [PROBLEM]).rows
    assert str(row) == folder
    unit, *_ = planned_grid(config, [PROBLEM])
    assert unit.configurations(DecodingSettings())[0].prompt == "chat"
    assert not planned_grid(config, [PROBLEM]).cheap_first
    assert planned_grid(evolve(config, order=Order.CHEAP_FIRST), [PROBLEM]).cheap_first
    best = evolve(config, method="best_of_n", options=[])
    assert [str(row) for row in planned_grid(best, [PROBLEM]).rows] == ["method=best_of_n"]
