"""One execution at a time: outcomes, values, exceptions, streams, limits, instruments."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from egcfg.errors import UsageError
from egcfg.sandbox import (
    Call,
    Execution,
    ExecutionResult,
    Instrument,
    Limits,
    Outcome,
    Sandbox,
)

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Execute = Callable[..., ExecutionResult]


def test_a_call_brings_its_value_back(execute: Execute) -> None:
    result = execute("def f(x):\n    return {x: [1, (2.5, None)]}", "f('a')")
    assert (result.outcome, result.value, result.has_value) == (
        Outcome.OK,
        {"a": [1, (2.5, None)]},
        True,
    )


def test_without_a_call_there_is_no_value(execute: Execute) -> None:
    result = execute("x = 1")
    assert (result.outcome, result.has_value, result.value) == (Outcome.OK, False, None)


def test_a_value_without_plain_form_is_unsupported(execute: Execute) -> None:
    result = execute("class A: pass", "A()")
    assert result.outcome is Outcome.OK
    assert not result.has_value
    assert result.unsupported == "a value of type A cannot be carried over"


@pytest.mark.parametrize(
    ("source", "call", "kind", "message", "line"),
    [
        ("x = 1\ny = x / 0", None, "ZeroDivisionError", "division by zero", 2),
        ("def f():\n    return {}['k']", "f()", "KeyError", "'k'", 2),
        ("x = (", None, "SyntaxError", "'(' was never closed (program.py, line 1)", 1),
        ("x = 1", "f()", "NameError", "name 'f' is not defined", None),
        ("x = 1", "f(", "SyntaxError", "'(' was never closed (<call>, line 1)", 1),
        ("import sys\nsys.exit(3)", None, "SystemExit", "3", 2),
        ("open('/missing')", None, "FileNotFoundError", None, 1),
        ("class E(Exception):\n    pass\nraise E('a', 2)", None, "E", "('a', 2)", 3),
        ("raise ValueError([1], 'b')", None, "ValueError", "<list>, b", 1),
    ],
)
def test_an_exception_is_described(
    execute: Execute,
    source: str,
    call: str | None,
    kind: str,
    message: str | None,
    line: int | None,
) -> None:
    result = execute(source, call)
    assert result.outcome is Outcome.EXCEPTION
    assert result.raised is not None
    assert (result.raised.type, result.raised.line) == (kind, line)
    if message is not None:
        assert result.raised.message == message


def test_describing_an_exception_runs_none_of_its_methods(execute: Execute) -> None:
    source = (
        "class E(ValueError):\n"
        "    def __str__(self): print('ran'); return 'lie'\n"
        "    __repr__ = __str__\n"
        "    @property\n"
        "    def args(self): print('ran'); return ('lie',)\n"
        "raise E('truth')\n"
    )
    result = execute(source)
    assert result.raised is not None
    assert (result.raised.message, result.stdout) == ("truth", "")


def test_whole_programs_read_input_and_exit_as_usual(execute: Execute) -> None:
    source = (
        "import atexit, sys, threading, time\n"
        "atexit.register(print, 'last')\n"
        "def late():\n    time.sleep(0.05)\n    print('thread')\n"
        "threading.Thread(target=late).start()\n"
        "print(input()[::-1], __name__)\n"
        "sys.exit()\n"
    )
    result = execute(source, stdin="héllo\nmore", run_as_main=True)
    assert result.outcome is Outcome.OK
    assert result.stdout == "olléh __main__\nthread\nlast\n"


def test_a_large_input_arrives_whole(execute: Execute) -> None:
    text = "é" * 300_000
    result = execute("import sys\nprint(len(sys.stdin.read()))", stdin=text, run_as_main=True)
    assert result.stdout == "300000\n"


def test_large_sources_arrive_whole(execute: Execute) -> None:
    assert execute("x = 1\n" * 200_000 + "y = 2", "y").value == 2


def test_output_that_is_no_text_is_escaped(execute: Execute) -> None:
    result = execute("import os\nos.write(1, b'\\xff\\n')\nos.write(2, b'\\xfe')", run_as_main=True)
    assert (result.stdout, result.stderr) == ("\\xff\n", "\\xfe")


def test_memory_and_output_are_limited_where_nothing_else_is_asked_for(execute: Execute) -> None:
    assert execute("x = [0] * 10**10").outcome is Outcome.MEMORY
    assert execute("print('x' * 10**7)").outcome is Outcome.OUTPUT


def test_leaving_by_itself_is_a_regular_end_of_a_whole_program_only(execute: Execute) -> None:
    source = "import os; os._exit(0)"
    assert execute(source, run_as_main=True).outcome is Outcome.OK
    assert execute(source).outcome is Outcome.KILLED


def test_the_processor_limit_counts_fractions_of_a_second(execute: Execute) -> None:
    result = execute("while True: pass", limits=Limits(cpu_seconds=0.2, wall_seconds=60))
    assert result.outcome is Outcome.TIMEOUT
    assert "processor" in result.detail


def test_output_before_a_kill_is_kept(execute: Execute, short: Limits) -> None:
    result = execute("print('seen', flush=True)\nwhile True: pass", limits=short)
    assert (result.outcome, result.stdout) == (Outcome.TIMEOUT, "seen\n")


def test_files_are_limited_in_size(execute: Execute) -> None:
    source = "with open('f', 'wb') as file:\n    file.write(bytes(10_000))"
    result = execute(source, limits=Limits(file_bytes=5000))
    assert result.raised is not None
    assert result.raised.type == "OSError"


def test_every_execution_starts_in_a_folder_with_its_own_file_only(
    run: Run, sandbox: Sandbox
) -> None:
    source = "import os\nseen = os.listdir('.')\nopen('left', 'w').close()"
    results = run(sandbox.run([Execution(source=source, call=Call("seen"))] * 4))
    assert [result.value for result in results] == [["program.py"]] * 4


def test_the_environment_is_clean(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with closing(Sandbox()) as fresh:
        execution = Execution(
            source="import os", call=Call("(dict(os.environ), dict(os.environb), os.getcwd())")
        )
        (result,) = run(fresh.run([execution]))
    environment, _, folder = result.value
    threads = {f"{library}_NUM_THREADS" for library in ("MKL", "OMP", "OPENBLAS")}
    python = {"LANG", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "TZ"}
    assert environment.keys() == threads | python | {"HOME", "TMPDIR"}
    assert environment["HOME"] == environment["TMPDIR"] == folder


def test_the_same_program_behaves_the_same(run: Run, sandbox: Sandbox) -> None:
    source = "import random\nx = (random.random(), hash('a'), list({'a', 'b', 'c'}))"
    execution = Execution(source=source, call=Call("x"))
    with closing(Sandbox()) as other:
        results = run(sandbox.run([execution] * 3)) + run(other.run([execution]))
    values = [result.value for result in results]
    assert values == [values[0]] * 4


def test_results_are_in_the_order_of_the_requests(run: Run, sandbox: Sandbox) -> None:
    executions = [
        Execution(source=f"import time; time.sleep({0.05 if n % 3 else 0})", call=Call(str(n)))
        for n in range(20)
    ]
    assert [r.value for r in run(sandbox.run(executions))] == list(range(20))
    assert run(sandbox.run([])) == []


def test_tasks_of_one_loop_share_a_sandbox(run: Run, sandbox: Sandbox) -> None:
    async def work(number: int) -> list[object]:
        executions = [Execution(source="", call=Call(f"{number}, {n}")) for n in range(5)]
        return [result.value for result in await sandbox.run(executions)]

    async def work_together() -> list[list[object]]:
        return await asyncio.gather(*map(work, range(4)))

    assert run(work_together()) == [[(n, i) for i in range(5)] for n in range(4)]


def test_programs_of_different_shape_run_at_the_same_time(
    run: Run, sandbox: Sandbox, instrument: Instrument
) -> None:
    async def work(number: int) -> None:
        limits = Limits(file_bytes=1000 * (number % 3 + 1))
        watched = instrument if number % 2 else None
        call = Call("open('f', 'wb', buffering=0).write(bytes(9999))")
        execution = Execution(source="", call=call, limits=limits, instrument=watched)
        for _ in range(2):
            (result,) = await sandbox.run([execution])
            assert result.value == limits.file_bytes
            assert bool(result.memory) == bool(watched)

    async def work_together() -> None:
        await asyncio.gather(*map(work, range(24)))

    run(work_together())


def test_one_event_loop_after_another_uses_a_sandbox(run: Run, sandbox: Sandbox) -> None:
    execution = Execution(source="", call=Call("1"))

    async def busy() -> list[object]:
        results = await asyncio.gather(*(sandbox.run([execution] * 3) for _ in range(5)))
        return [result.value for batch in results for result in batch]

    for _ in range(2):
        assert asyncio.run(busy()) == run(busy()) == [1] * 15


def test_two_event_loops_at_a_time_are_told_apart(run: Run, sandbox: Sandbox) -> None:
    async def intrude() -> str:
        waiting = asyncio.create_task(sandbox.run([Execution(source="import time; time.sleep(9)")]))
        while not sandbox._here().jobs:
            await asyncio.sleep(0)
        with pytest.raises(UsageError) as caught:
            await asyncio.to_thread(asyncio.run, sandbox.report())
        waiting.cancel()
        await asyncio.wait([waiting])
        return str(caught.value)

    assert "make a Sandbox for each" in run(intrude())


INSTRUMENT = """
import sys

class Instrument:
    def __init__(self, options, memory):
        self.memory, self.first = memory, options["first"]

    def start(self):
        self.memory[0] = self.first
        sys.settrace(self.trace)

    def trace(self, frame, event, argument):
        if frame.f_code.co_filename == "program.py":
            self.memory[1] = min(self.memory[1] + 1, 255)
            return self.trace

    def resume(self):
        self.memory[3] = 6

    def stop(self, error):
        sys.settrace(None)
        self.memory[2] = 9 if error else 8
"""


@pytest.fixture
def instrument(tmp_path: Path) -> Instrument:
    path = tmp_path / "instrument.py"
    path.write_text(INSTRUMENT)
    return Instrument(path=str(path), options={"first": 7}, memory_bytes=4096)


def test_an_instrument_watches_the_program(execute: Execute, instrument: Instrument) -> None:
    result = execute("x = 1\ny = 2", "x + y", instrument=instrument)
    assert result.value == 3
    assert result.memory == bytes([7, 4, 8, 6])  # call, two lines, return


def test_an_instrument_hears_of_the_exception(execute: Execute, instrument: Instrument) -> None:
    assert execute("1 / 0", instrument=instrument).memory[2] == 9


def test_an_instruments_memory_survives_a_kill(
    execute: Execute, instrument: Instrument, short: Limits
) -> None:
    result = execute("while True: pass", instrument=instrument, limits=short)
    assert result.outcome is Outcome.TIMEOUT
    assert result.memory[0] == 7
    assert len(result.memory) == 2  # it never came to an end


def test_an_instrument_that_changed_is_loaded_anew(
    execute: Execute, instrument: Instrument
) -> None:
    assert execute("", instrument=instrument).memory[2] == 8
    Path(instrument.path).write_text(INSTRUMENT.replace("else 8", "else 88"))
    assert execute("", instrument=instrument).memory[2] == 88


def test_a_fork_gets_a_server_of_its_own(run: Run, sandbox: Sandbox) -> None:
    run(sandbox.run([Execution(source="")]))
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            (result,) = asyncio.run(sandbox.run([Execution(source="", call=Call("6 * 7"))]))
            sandbox.close()
            os.write(writer, str(result.value).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        assert pipe.read() == b"42"
    os.waitpid(pid, 0)
    assert run(sandbox.run([Execution(source="", call=Call("1"))]))[0].value == 1
