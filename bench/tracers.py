"""What tracing costs, beside PySnooper and hunter on the same programs in the same run.

    python bench/tracers.py

Installs the two peers into a temporary folder of its own, and leaves them out if that fails. Prints
microseconds per line event and per opcode event, what tracing adds to an execution in the sandbox,
and how long programs take that outlast the tracer's budget.
"""

from __future__ import annotations

import asyncio
import gc
import io
import mmap
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any

from egcfg.interfaces.tracer import TraceRequest
from egcfg.sandbox import Call, Execution, Limits, Sandbox
from egcfg_tracers import codes, engine
from egcfg_tracers.tracers import BytecodeTracer, FullTracer, MinimalTracer

ROUNDS = 40
MEMORY_BYTES = 1 << 20
PROGRAMS = {
    "sum of digits": (
        """
def run(n):
    total = 0
    while n:
        total += n % 10
        n //= 10
    return total
""",
        "run(98765432123)",
    ),
    "primes": (
        """
def run(limit):
    primes = []
    for number in range(2, limit):
        for prime in primes:
            if number % prime == 0:
                break
        else:
            primes.append(number)
    return primes
""",
        "run(20)",
    ),
    "word count": (
        """
def run(text):
    counts = {}
    for word in text.lower().split():
        word = word.strip(".,")
        counts[word] = counts.get(word, 0) + 1
    best = max(counts.values())
    return sorted(word for word in counts if counts[word] == best)
""",
        "run('the cat saw the dog, the dog saw the bird. No cat saw a bird.')",
    ),
    "matrix product": (
        """
def run(a, b):
    rows, inner, columns = len(a), len(b), len(b[0])
    product = [[0] * columns for _ in range(rows)]
    for i in range(rows):
        for j in range(columns):
            for k in range(inner):
                product[i][j] += a[i][k] * b[k][j]
    return product
""",
        "run([[1, 2], [3, 4]], [[5, 6], [7, 8]])",
    ),
    "bubble sort": (
        """
def run(items):
    items = list(items)
    for end in range(len(items) - 1, 0, -1):
        for i in range(end):
            if items[i] > items[i + 1]:
                items[i], items[i + 1] = items[i + 1], items[i]
    return items
""",
        "run([5, 2, 9, 1, 7, 3])",
    ),
}
LONG = {
    "loop": (
        """
def run(n):
    total = 0
    for i in range(n):
        total += i * i % 7
    return total
""",
        "run(15_000_000)",
    ),
    "calls": (
        """
def run(n):
    return n if n < 2 else run(n - 1) + run(n - 2)
""",
        "run(32)",
    ),
    "exceptions": (
        """
def run(n):
    missing = 0
    for i in range(n):
        try:
            {}[i]
        except KeyError:
            missing += 1
    return missing
""",
        "run(4_000_000)",
    ),
}


class Program:
    """One program, compiled for whoever watches it."""

    def __init__(self, source: str, call: str, folder: Path) -> None:
        self.source, self.call = source, call
        self.path = folder / f"program_{len(list(folder.iterdir()))}.py"
        self.path.write_text(source)
        self.expression = compile(call, "<call>", "eval")

    def function(self, filename: str) -> dict[str, Any]:
        """Return the program's globals, its code under the name `filename`."""
        namespace: dict[str, Any] = {"__name__": "program"}
        code: CodeType = compile(self.source, filename, "exec")
        exec(code, namespace)
        return namespace


def seconds(action: Callable[[], object]) -> float:
    """Return how long `action` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


async def waited(work: Awaitable[object]) -> float:
    """Return how long `work` takes."""
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


def run_plain(program: Program) -> tuple[float, int]:
    """Return the seconds of the call when nothing watches it."""
    namespace = program.function(str(program.path))
    return seconds(lambda: eval(program.expression, namespace)), 0


def run_engine(program: Program, level: str) -> tuple[float, int]:
    """Return the seconds of the call alone, and the events that the engine saw in it."""
    options = {"level": level, "head_events": 10**6, "watched_events": 10**6, "op_events": 10**6}
    instrument = engine.Instrument(options, memoryview(mmap.mmap(-1, MEMORY_BYTES)))
    namespace: dict[str, Any] = {"__name__": "program"}
    exec(instrument.compile(program.source.encode(), codes.PROGRAM_FILE), namespace)
    limit = sys.getrecursionlimit()
    instrument.start()
    try:
        taken = seconds(lambda: eval(program.expression, namespace))
    finally:
        instrument.stop(None)
        sys.setrecursionlimit(limit)
    return taken, instrument.journal.seen


def run_pysnooper(program: Program) -> tuple[float, int]:
    """Return the seconds of the call, and the lines, calls and returns that were told."""
    import pysnooper

    lines: list[str] = []
    namespace = program.function(str(program.path))
    namespace["run"] = pysnooper.snoop(lines.append, color=False)(namespace["run"])
    taken = seconds(lambda: eval(program.expression, namespace))
    kinds = (" line ", " call ", " return ")
    return taken, sum(any(kind in line for kind in kinds) for line in lines)


def run_hunter(program: Program) -> tuple[float, int]:
    """Return the seconds of the call, and the lines, calls and returns that were told."""
    import hunter

    stream = io.StringIO()
    namespace = program.function(str(program.path))
    snooper = hunter.VarsSnooper(stream=stream, force_colors=False)
    with hunter.trace(filename=str(program.path), action=snooper):
        taken = seconds(lambda: eval(program.expression, namespace))
    kinds = (" line ", " call ", " return ")
    return taken, sum(any(kind in line for kind in kinds) for line in stream.getvalue().split("\n"))


def fastest(programs: list[Program], run: Callable[[Program], tuple[float, int]]) -> list[Any]:
    """Return the least seconds and the events of each program: noise only ever adds."""
    measured = []
    for program in programs:
        runs = [run(program) for _ in range(ROUNDS)]
        measured.append((min(taken for taken, _ in runs), runs[-1][1]))
    return measured


def report_events(programs: list[Program], peers: list[str]) -> None:
    """Print what an event costs each tracer, in this process."""
    tools: dict[str, Callable[[Program], tuple[float, int]]] = {
        "plain": run_plain,
        "egcfg minimal": lambda program: run_engine(program, "final"),
        "egcfg full": lambda program: run_engine(program, "line"),
        "egcfg bytecode": lambda program: run_engine(program, "op"),
    }
    if "pysnooper" in peers:
        tools["PySnooper"] = run_pysnooper
    if "hunter" in peers:
        tools["hunter (VarsSnooper)"] = run_hunter
    found = {name: fastest(programs, run) for name, run in tools.items()}
    plain = [taken for taken, _ in found["plain"]]
    lines = found["egcfg full"]

    print(f"{'tracer':22} {'ms/run':>8} {'slow-down':>10} {'events':>7} {'us/event':>9}")
    costs: dict[str, float] = {}
    for name, measured in found.items():
        taken = sum(time for time, _ in measured)
        events = sum(count for _, count in measured)
        extra = taken - sum(plain)
        if name == "egcfg bytecode":
            # Its line events cost what they cost without opcodes; the rest is the opcodes'.
            extra = taken - sum(time for time, _ in lines)
            events -= sum(count for _, count in lines)
        costs[name] = extra / events * 1e6 if events else 0.0
        cost = f"{costs[name]:9.2f}" if events else f"{'-':>9}"
        ratio = taken / sum(plain)
        print(f"{name:22} {taken / len(plain) * 1e3:8.3f} {ratio:10.0f} {events:7} {cost}")
    if "PySnooper" in costs:
        share = costs["egcfg full"] / costs["PySnooper"]
        op_share = costs["egcfg bytecode"] / costs["PySnooper"]
        print(f"\nof PySnooper's cost per line: a line event {share:.2f}, an opcode {op_share:.3f}")


async def report_sandbox(programs: list[Program]) -> None:
    """Print what tracing adds to an execution in the sandbox."""
    tracers = {"minimal": MinimalTracer(), "full": FullTracer(), "bytecode": BytecodeTracer()}
    print(
        f"\n{'in the sandbox':22} {'median ms':>10} {'added':>7} {'fastest tenth':>14} {'added':>7}"
    )
    async with Sandbox(workers=1) as sandbox:

        async def untraced(program: Program) -> None:
            await sandbox.run([Execution(source=program.source, call=Call(program.call))])

        async def traced(tracer: Any, program: Program) -> None:
            await tracer.trace([TraceRequest(source=program.source, call=program.call)], sandbox)

        ways: dict[str, Callable[[Program], Awaitable[object]]] = {"not traced": untraced}
        ways |= {name: partial(traced, tracer) for name, tracer in tracers.items()}
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS // 4):  # in turns, so that a noisy moment hits all alike
            for name, run in ways.items():
                await run(programs[0])  # the processes that wait are of the kind of the last one
                for program in 4 * programs:
                    taken[name].append(await waited(run(program)))
        base = taken["not traced"]
        for name, times in taken.items():
            print(
                f"{name:22} {statistics.median(times) * 1e3:10.2f}"
                f" {statistics.median(times) / statistics.median(base) - 1:7.0%}"
                f" {tenth(times) * 1e3:14.2f} {tenth(times) / tenth(base) - 1:7.0%}"
            )


def tenth(times: list[float]) -> float:
    """Return the time that a tenth of the runs stayed below: noise only ever adds."""
    return sorted(times)[len(times) // 10]


async def report_long() -> None:
    """Print how long programs take that outlast the budget."""
    tracers = {"full": FullTracer(), "bytecode": BytecodeTracer(), "minimal": MinimalTracer()}
    columns = "".join(f"{name:>12}" for name in ("not traced", *tracers))
    print(f"\n{'long programs, seconds':22}{columns}")
    limits = Limits(cpu_seconds=60, wall_seconds=120)
    async with Sandbox(workers=1) as sandbox:
        for name, (source, call) in LONG.items():
            untraced = Execution(source=source, call=Call(call), limits=limits)
            request = TraceRequest(source=source, call=call, limits=limits)
            await sandbox.run([Execution(source="")])
            taken = [await waited(sandbox.run([untraced]))]
            taken += [await waited(t.trace([request], sandbox)) for t in tracers.values()]
            print(f"{name:22}" + "".join(f"{time:12.2f}" for time in taken))


def install_peers(folder: Path) -> list[str]:
    """Install PySnooper and hunter into `folder`; return the ones that can be imported."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
    done = subprocess.run([*command, "pysnooper", "hunter"], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"PySnooper and hunter are left out, pip says: {done.stderr.strip()[-300:]}\n")
        return []
    sys.path.insert(0, str(folder))
    return ["pysnooper", "hunter"]


def main() -> None:
    """Run everything."""
    print(f"Python {platform.python_version()}; here the fastest of {ROUNDS} runs\n")
    with tempfile.TemporaryDirectory() as folder:
        peers = install_peers(Path(folder) / "peers")
        sources = Path(folder) / "programs"
        sources.mkdir()
        programs = [Program(source, call, sources) for source, call in PROGRAMS.values()]
        gc.collect()
        report_events(programs, peers)
        asyncio.run(report_sandbox(programs))
        asyncio.run(report_long())


if __name__ == "__main__":
    main()
