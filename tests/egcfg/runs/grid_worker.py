"""One process of a run, as the fault tests start and kill it: no model, real runner and files.

Usage: grid_worker.py RESULTS_DIR LOG SECONDS_PER_UNIT TASKS UNITS_AT_ONCE
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.scorer import Score, TestResult, TestStatus
from egcfg.interfaces.solution import FinishReason, Generation, Solution
from egcfg.runs.config_string import SignalConfig
from egcfg.runs.grid import Grid
from egcfg.runs.runner import run
from egcfg.runs.store import ResultsFolder


class SlowSolver:
    """Logs each start and end; two that solve one unit at the same time are found by a lock."""

    def __init__(self, log: Path, seconds: float) -> None:
        self.log = log
        self.seconds = seconds

    def note(self, event: str, unit: str) -> None:
        handle = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{event} {unit} {os.getpid()}\n".encode())
        os.close(handle)

    async def __call__(self, problem, *, configurations, on_step):  # noqa: ARG002 - the seam's
        settings = configurations[0].settings
        started = datetime.now(UTC)
        unit = f"{problem.task_id}@{settings.gamma:g}"
        with self.log.with_name(f"lock-{unit}").open("w") as lock:
            try:
                # The kernel frees the lock of a killed process.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.note("conflict", unit)
            self.note("start", unit)
            await asyncio.sleep(self.seconds)
            self.note("end", unit)
        test = TestResult(name=problem.scoring_tests[0].name, status=TestStatus.PASSED, seconds=0.0)
        return Solution(
            task_id=problem.task_id,
            settings=settings,
            generation=Generation(
                response="", code="x = 1\n" * 2000, ids=(), finish=FinishReason.CODE_END
            ),
            score=Score(results=[test]),
            attempts=(),
            tests_seen=(),
            isolation={},
            started=started,
            ended=datetime.now(UTC),
        )


def main() -> None:
    # Ctrl-C works here also where whoever runs the tests ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    results_dir, log, seconds, tasks, at_once = sys.argv[1:]
    solver = SlowSolver(Path(log), float(seconds))
    problems = [
        Problem(
            task_id=str(number),
            description="",
            entry_point="f",
            visible_tests=[AssertTest("assert f(1)")],
        )
        for number in range(int(tasks))
    ]
    grid = Grid(problems=problems, configs=[SignalConfig()], gammas=[0, 1])
    folder = ResultsFolder(Path(results_dir), "set", "model")

    async def open_model() -> int:
        return int(at_once)

    summary = asyncio.run(run(grid, folder, solver, open_model=open_model))
    sys.stdout.write(f"{summary.finished} {summary.in_flight_elsewhere}\n")


if __name__ == "__main__":
    main()
