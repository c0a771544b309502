"""Every example runs as it stands, with a small model in place of a real one."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg_backends_fireworks.testing import LoopbackServer, ServedModel, Shape

EXAMPLES = Path(__file__).parent.parent / "examples"
DOCS = Path(__file__).parent.parent / "docs"
FENCE = "```python\n"
# What a problem asks for, the text after which the answer begins, and a right answer.
ANSWERS = (
    ("double(x)", FENCE, "def double(x):\n    return 2 * x\n"),
    ("largest(numbers)", FENCE, "def largest(numbers):\n    return max(numbers)\n"),
    (
        "has_close_elements",
        '    """\n',
        "    ordered = sorted(numbers)\n"
        "    return any(b - a < threshold for a, b in zip(ordered, ordered[1:]))\n",
    ),
)


def right_answer(text: str) -> str:
    """What the model has yet to write; the backend's probes ask for none of these."""
    for asked, before, answer in ANSWERS:
        if asked in text:
            return f"{answer}```\n"[len(text.rpartition(before)[2]) :]
    return "pass\n"


@pytest.mark.parametrize(
    ("script", "count", "said"),
    [
        ("solve_one.py", (), "def double(x):\n    return 2 * x\n\npassed: True; "),
        ("watch_lines.py", (), "1 programs \npassed: True"),
        ("embed_in_harness.py", ("1",), "HumanEval/0 passed\nsamples.jsonl: 1 completions"),
    ],
)
def test_an_example_solves_its_problem_with_a_model_that_can(
    script: str, count: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    scripted = ScriptedBackend(ScriptedOptions(script=right_answer, noise=0.1))
    model = ServedModel(scripted, Shape(routes=True))
    with closing(model), LoopbackServer(model, model.others) as server:
        ran = subprocess.run(
            [sys.executable, "-W", "error", str(EXAMPLES / script), "any", *count, "openai"],
            cwd=tmp_path,
            env={**os.environ, "OPENAI_BASE_URL": f"{server.address}/v1"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    assert said in ran.stdout
    assert "Warning" not in ran.stderr  # at its end Python prints those that it makes errors of


def test_an_example_takes_the_folder_of_a_model(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = str(EXAMPLES / "solve_one.py")
    monkeypatch.setattr(sys, "argv", [script, str(tiny_llama)])
    runpy.run_path(script, run_name="__main__")  # here, where torch is loaded
    assert "passed: False; " in capsys.readouterr().out  # that model has learnt nothing


def test_jobs_of_an_array_share_the_work(tmp_path: Path) -> None:
    shared, folder = tmp_path / "shared", Path(sys.executable).parent
    scripted = ScriptedBackend(ScriptedOptions(script=right_answer, noise=0.1))
    with LoopbackServer(ServedModel(scripted, Shape())) as server:
        asks = ("--backend", "openai", "--base-url", f"{server.address}/v1", "--model", "m")
        few = ("--prompt", "completion", "--limit", "2", "--max-tokens", "8", "-g", "0")
        # A sandbox that is not strict: a test must run on machines without every layer.
        options = (*asks, *few, "--sandbox", "auto")
        environment = {
            **os.environ,
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "HF_HOME": str(tmp_path),
            "SLURM_ARRAY_JOB_ID": "7",
        }
        jobs = [
            subprocess.Popen(
                ["bash", str(EXAMPLES / "slurm.sh"), str(shared), *options],
                cwd=tmp_path,
                env={**environment, "SLURM_ARRAY_TASK_ID": str(number)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(2)
        ]
        said = [job.communicate()[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    assert "job 7, task 1, on " in said[1]
    results = list((shared / "results").rglob("task_id=*_gamma=*.json"))
    assert len(results) == 2, results


def test_answers_have_the_rewards_that_the_example_shows() -> None:
    command = [sys.executable, "-W", "error", str(EXAMPLES / "reward.py")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found = [line.split()[:2] for line in ran.stdout.splitlines()]
    statuses = ("passed", "failed", "timeout", "memory", "error")
    shares = ("1.00", "0.50", "0.00", "0.00", "0.00")
    assert found == [list(pair) for pair in zip(statuses, shares, strict=True)]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, by trl
@pytest.mark.parametrize(
    ("package", "absent"),
    [
        ("egcfg", ""),
        ("trl", "trl is not installed"),
        ("verifiers", "verifiers is not installed"),
        ("lm_eval", "lm_eval is not installed"),
    ],
    ids=["egcfg", "trl", "verifiers", "lm_eval"],
)
def test_the_code_in_the_page_about_rewards_runs_from_top_to_bottom(
    package: str, absent: str
) -> None:
    """The blocks that need no more than egcfg, and those about one other package."""
    pytest.importorskip(package, reason=absent)
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / "reward.md").read_text(), re.M | re.S)
    others = [re.findall(r"^(?:from|import) (trl|verifiers|lm_eval)\b", b, re.M) for b in blocks]
    assert [package] in others or package == "egcfg"
    names: dict[str, object] = {"__name__": "page"}
    for block, needed in zip(blocks, others, strict=True):
        if needed in ([], [package]):
            exec(compile(block, "reward.md", "exec"), names)
    assert others.count([]) >= 5


def test_the_example_problems_can_be_read() -> None:
    from egcfg.datasets.selection import open_dataset

    problems = open_dataset(str(EXAMPLES / "problems.jsonl")).problems()
    assert [problem.entry_point for problem in problems] == ["double", "initials"]
