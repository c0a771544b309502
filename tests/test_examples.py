"""Every example runs as it stands, with a tiny model in place of a real one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("solve_one.py", (), "passed: False; "),
        ("watch_lines.py", (), "passed: False"),
        ("embed_in_harness.py", ("1",), "HumanEval/0 failed\nsamples.jsonl: 1 completions"),
    ],
)
def test_an_example_runs_to_its_end(
    script: str, arguments: tuple[str, ...], said: str, tiny_llama: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-W", "error", str(EXAMPLES / script), str(tiny_llama), *arguments]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert said in ran.stdout


def test_the_example_problems_can_be_read() -> None:
    from egcfg.datasets.selection import open_dataset

    problems = open_dataset(str(EXAMPLES / "problems.jsonl")).problems()
    assert [problem.entry_point for problem in problems] == ["double", "initials"]
