from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from egcfg.config import RunConfig
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.runs import plan
from egcfg.runs.plan import plan_run

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
