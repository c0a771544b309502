"""One process of a run, as the fault tests start and kill it: no model, real runner and files.

Usage: grid_worker.py RESULTS_DIR LOG SECONDS_PER_UNIT TASKS UNITS_AT_ONCE STOP_WHEN_SOLVED

Where runs stop when a task is solved (1, not 0), the gammas are 0 to 4, and task n passes from
gamma n % 6 on.
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
    """Logs each start and end; two that solve one unit at the same time are found by a lock,
    as are two that are at one task where that is not to be."""

    def __init__(self, log: Path, seconds: float, stop_when_solved: bool) -> None:
        self.log = log
        self.seconds = seconds
        self.stop_when_solved = stop_when_solved

    def note(self, event: str, unit: str) -> None:
        handle = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{event} {unit} {os.getpid()}\n".encode())
        os.close(handle)

    async def __call__(self, problem, *, configurations, attempts_stand, recorder):  # noqa: ARG002 - the seam's
        settings = configurations[0].settings
        started = datetime.now(UTC)
        unit = f"{problem.task_id}@{settings.gamma:g}"
        shared = problem.task_id if self.stop_when_solved else unit
        with self.log.with_name(f"lock-{shared}").open("w") as lock:
            try:
                # The kernel frees the lock of a killed process.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.note("conflict", unit)
            self.note("start", unit)
            await asyncio.sleep(self.seconds)
            self.note("end", unit)
        passes = not self.stop_when_solved or settings.gamma >= int(problem.task_id) % 6
        status = TestStatus.PASSED if passes else TestStatus.FAILED
        test = TestResult(name=problem.scoring_tests[0].name, status=status, seconds=0.0)
        yield Solution(
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
    results_dir, log, seconds, tasks, at_once, stop = sys.argv[1:]
    stop_when_solved = bool(int(stop))
    solver = SlowSolver(Path(log), float(seconds), stop_when_solved)
    problems = [
        Problem(
            task_id=str(number),
            description="",
            entry_point="f",
            visible_tests=[AssertTest("assert f(1)")],
        )
        for number in range(int(tasks))
    ]
    gammas = range(5) if stop_when_solved else [0, 1]
    grid = Grid(problems=problems, configs=[SignalConfig()], gammas=gammas)
    folder = ResultsFolder(Path(results_dir), "set", "model")

    async def open_model() -> int:
        return int(at_once)

    running = run(grid, folder, solver, open_model=open_model, stop_when_solved=stop_when_solved)
    summary = asyncio.run(running)
    sys.stdout.write(f"{summary.finished} {summary.in_flight_elsewhere}\n")


if __name__ == "__main__":
    main()
