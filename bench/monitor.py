"""What `egcfg monitor` takes on a large folder, at once and while it watches.

Run it with ``python bench/monitor.py``. It writes a results folder of the real form (30
configurations x 4 gammas x 500 tasks, 2.3 kB a file) into a temporary folder, which it removes, and
times the command as a process of its own (processor time, and memory at most), then looks in this
process: at first, again with nothing changed, and after some results were replaced.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "measuring"))

from tables import Report

from egcfg.interfaces.usage import Usage
from egcfg.reports.aggregate import aggregate
from egcfg.reports.rows import ResultRow
from egcfg.runs.folder import SETTLED_NS, FolderReader
from egcfg.runs.result_file import dump_result
from egcfg.runs.results import Result, ResultStats, TestVerdict
from egcfg.runs.store import ResultsFolder, unit_name

GAMMAS = (0.0, 0.5, 1.0, 3.0)
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REPLACED = 100


def result(task: int, gamma: float, config: int) -> Result:
    """Return a result as a run of EG-CFG writes it."""
    passes = (task * 7 + config + int(gamma)) % 3 != 0
    body = "".join(f"    value_{n} = value * {n} + {task}\n" for n in range(12))
    names = [f"assert solve_{task}([{n}, {n + 1}, {n + 2}], {n}) == {n * task}" for n in range(3)]
    begin = START + timedelta(seconds=30 * task)
    usage = Usage(forward_passes=40, forward_tokens=900, input_tokens=700, output_tokens=90)
    code = f"def solve_{task}(values, value):\n{body}    return value_3\n"
    return Result(
        code=code,
        tests={
            name: TestVerdict(
                passed=passes,
                seconds=0.004,
                error=None if passes else "AssertionError: the assertion does not hold",
                status="passed" if passes else "failed",
            )
            for name in names
        },
        passed=passes,
        accuracy=float(passes),
        stats=ResultStats(
            start_time=begin.isoformat(),
            end_time=(begin + timedelta(seconds=29)).isoformat(),
            input_tokens=2800,
            output_tokens=360,
            seconds=29.0,
            execution_seconds=0.4,
            usage=dict.fromkeys(("prefix", "sampling", "signal", "guided"), usage),
            signals=9,
            tokens_changed=4,
        ),
        response=f"```python\n{code}```",
        finish="code_end",
        problem_sha256="0" * 64,
        tests_seen=tuple(names),
        sandbox={"rlimits": "active", "seccomp": "active", "landlock": "active"},
    )


def write(folder: Path, files: int) -> list[Path]:
    """Write so many result files; return them."""
    results = ResultsFolder(folder, "mbpp", "org/model")
    tasks = min(500, files)
    paths = []
    for number in range(files):
        row, task = divmod(number, tasks)
        config, gamma = row // len(GAMMAS), GAMMAS[row % len(GAMMAS)]
        home = results.path / f"ns3t0.7d{2 + config}_chat_ln"
        if task == 0:
            home.mkdir(parents=True, exist_ok=True)
        path = home / f"{unit_name(str(task), gamma)}.json"
        path.write_bytes(dump_result(result(task, gamma, config)))
        paths.append(path)
    return paths


def replace(path: Path) -> None:
    """Replace a file as a run does."""
    beside = path.with_name(".tmp-new")
    beside.write_bytes(path.read_bytes())
    beside.replace(path)


def command_seconds(folder: Path) -> tuple[float, float]:
    """Return the processor seconds of the command, and its memory at most in MiB."""
    with subprocess.Popen(
        [sys.executable, "-m", "egcfg", "monitor", str(folder)], stdout=subprocess.DEVNULL
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def timed(call: Callable[[], object]) -> float:
    """Return the processor seconds of a call in this process."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    call()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Write the folder, measure, remove it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=60_000)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = write(folder, options.files)
        size = sum(path.stat().st_size for path in paths[:100]) // min(100, len(paths))
        facts = {"files": len(paths), "bytes per file": size, "python": sys.version.split()[0]}
        report = Report("egcfg monitor", facts, options.json)
        seconds, memory = command_seconds(folder)
        report.table(
            "the command",
            ("what", "processor s", "µs per file", "peak MiB"),
            [("egcfg monitor", seconds, 1e6 * seconds / len(paths), memory)],
        )
        time.sleep(SETTLED_NS / 1e9)  # until folders' times tell of every change
        reader = FolderReader(folder, ResultRow.of)
        changed = paths[:: max(1, len(paths) // REPLACED)][:REPLACED]
        looks = []
        for what in ("first look", "nothing changed", f"{len(changed)} replaced"):
            if what.endswith("replaced"):
                for path in changed:
                    replace(path)
            read = reader.files_read
            seconds = timed(lambda: reader.look())
            looks.append((what, seconds, reader.files_read - read))
        report.table("looks of --watch", ("what", "processor s", "files read"), looks)
        rows = reader.look().kept
        report.table(
            "the numbers", ("rows", "processor s"), [(len(rows), timed(lambda: aggregate(rows)))]
        )


if __name__ == "__main__":
    main()
