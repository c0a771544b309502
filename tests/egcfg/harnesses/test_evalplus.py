"""evalplus itself: its code generation asks egcfg, its evaluator takes our samples."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("evalplus") is None, reason="make test-harnesses installs evalplus"
)

TASKS = 164  # evalplus refuses a file of HumanEval+ with fewer
GENERATE = """\
import json, sys
from evalplus.codegen import codegen
from egcfg.harnesses.evalplus import EgcfgDecoder

decoder = EgcfgDecoder(**json.loads(sys.argv[1]))
codegen("samples.jsonl", decoder, "humaneval", greedy=True, id_range=[0, 2])
"""


def record(number: int) -> dict[str, Any]:
    return {
        "task_id": f"HumanEval/{number}",
        "prompt": f'def add{number}(x):\n    """Return x + {number}.\n'
        f'    >>> add{number}(1)\n    {number + 1}\n    """\n',
        "canonical_solution": f"    return x + {number}\n",
        "entry_point": f"add{number}",
        "contract": "",
        "base_input": [[1]],
        "plus_input": [[-5]],
        "atol": 0,
    }


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    records = folder / "records.jsonl"
    records.write_text("".join(json.dumps(record(n)) + "\n" for n in range(TASKS)))
    environment = {
        **os.environ,
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "HUMANEVAL_OVERRIDE_PATH": str(records),
    }
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.model
def test_generated_samples_are_judged_by_its_evaluator(tmp_path: Path) -> None:
    values = {"gamma": 1.0, "candidates": 2, "max_tokens": 100, "prompt.prefill": False}
    done = run(tmp_path, "-c", GENERATE, json.dumps(values))
    assert "decoder_tests visible" in done.stdout
    samples = tmp_path / "samples.jsonl"
    generated = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [sample["task_id"] for sample in generated] == ["HumanEval/0", "HumanEval/1"]
    for sample in generated:
        number = sample["task_id"].partition("/")[2]
        assert f"def add{number}(" in sample["solution"]
    with samples.open("a") as file:
        for number in range(2, TASKS):
            one = record(number)
            solution = one["prompt"] + one["canonical_solution"]
            file.write(json.dumps({"task_id": one["task_id"], "solution": solution}) + "\n")
    run(tmp_path, "-m", "evalplus.evaluate", "--dataset", "humaneval", "--samples", str(samples))
    verdicts = json.loads((tmp_path / "samples_eval_results.json").read_text())["eval"]
    assert len(verdicts) == TASKS
    for number in range(2, TASKS):
        [verdict] = verdicts[f"HumanEval/{number}"]
        assert (verdict["base_status"], verdict["plus_status"]) == ("pass", "pass")
    [first], [second] = verdicts["HumanEval/0"], verdicts["HumanEval/1"]
    assert "pass" in (first["plus_status"], second["plus_status"])
