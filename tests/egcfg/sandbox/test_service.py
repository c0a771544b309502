"""One execution at a time: outcomes, values, exceptions, streams, limits, instruments."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from egcfg.sandbox import (
    Call,
    Execution,
    ExecutionResult,
    Instrument,
    Limits,
    Outcome,
    Sandbox,
)

Run = Callable[..., ExecutionResult]


def test_a_call_brings_its_value_back(run: Run) -> None:
    result = run("def f(x):\n    return {x: [1, (2.5, None)]}", "f('a')")
    assert (result.outcome, result.value, result.has_value) == (
        Outcome.OK,
        {"a": [1, (2.5, None)]},
        True,
    )


def test_without_a_call_there_is_no_value(run: Run) -> None:
    result = run("x = 1")
    assert (result.outcome, result.has_value, result.value) == (Outcome.OK, False, None)


def test_a_value_without_plain_form_is_unsupported(run: Run) -> None:
    result = run("class A: pass", "A()")
    assert result.outcome is Outcome.OK
    assert not result.has_value
    assert result.unsupported == "a value of type A cannot be carried over"


@pytest.mark.parametrize(
    ("source", "call", "kind", "message", "line"),
    [
        ("x = 1\ny = x / 0", None, "ZeroDivisionError", "division by zero", 2),
        ("def f():\n    return {}['k']", "f()", "KeyError", "'k'", 2),
        ("x = (", None, "SyntaxError", "'(' was never closed (<program>, line 1)", 1),
        ("x = 1", "f()", "NameError", "name 'f' is not defined", None),
        ("x = 1", "f(", "SyntaxError", "'(' was never closed (<call>, line 1)", 1),
        ("import sys\nsys.exit(3)", None, "SystemExit", "3", 2),
        ("open('/missing')", None, "FileNotFoundError", None, 1),
        ("class E(Exception):\n    pass\nraise E('a', 2)", None, "E", "('a', 2)", 3),
        ("raise ValueError([1], 'b')", None, "ValueError", "<list>, b", 1),
    ],
)
def test_an_exception_is_described(
    run: Run, source: str, call: str | None, kind: str, message: str | None, line: int | None
) -> None:
    result = run(source, call)
    assert result.outcome is Outcome.EXCEPTION
    assert result.raised is not None
    assert (result.raised.type, result.raised.line) == (kind, line)
    if message is not None:
        assert result.raised.message == message


def test_describing_an_exception_runs_none_of_its_methods(run: Run) -> None:
    source = (
        "class E(ValueError):\n"
        "    def __str__(self): print('ran'); return 'lie'\n"
        "    __repr__ = __str__\n"
        "    @property\n"
        "    def args(self): print('ran'); return ('lie',)\n"
        "raise E('truth')\n"
    )
    result = run(source)
    assert result.raised is not None
    assert (result.raised.message, result.stdout) == ("truth", "")


def test_whole_programs_read_input_and_exit_as_usual(run: Run) -> None:
    source = (
        "import atexit, sys, threading, time\n"
        "atexit.register(print, 'last')\n"
        "def late():\n    time.sleep(0.05)\n    print('thread')\n"
        "threading.Thread(target=late).start()\n"
        "print(input()[::-1], __name__)\n"
        "sys.exit()\n"
    )
    result = run(source, stdin="héllo\nmore", run_as_main=True)
    assert result.outcome is Outcome.OK
    assert result.stdout == "olléh __main__\nthread\nlast\n"


def test_a_large_input_arrives_whole(run: Run) -> None:
    text = "é" * 300_000
    result = run("import sys\nprint(len(sys.stdin.read()))", stdin=text, run_as_main=True)
    assert result.stdout == "300000\n"


def test_large_sources_arrive_whole(run: Run) -> None:
    assert run("x = 1\n" * 200_000 + "y = 2", "y").value == 2


def test_output_that_is_no_text_is_escaped(run: Run) -> None:
    result = run("import os\nos.write(1, b'\\xff\\n')\nos.write(2, b'\\xfe')", run_as_main=True)
    assert (result.stdout, result.stderr) == ("\\xff\n", "\\xfe")


def test_limits_decide_the_outcome(run: Run, short: Limits) -> None:
    # On a loaded machine the wall limit may be the first to be hit: both are a timeout.
    assert run("while True: pass", limits=short).outcome is Outcome.TIMEOUT
    assert run("import time; time.sleep(60)", limits=short).outcome is Outcome.TIMEOUT
    assert run("x = [0] * 10**10").outcome is Outcome.MEMORY
    assert run("print('x' * 10**7)").outcome is Outcome.OUTPUT
    assert run("import os; os._exit(0)").outcome is Outcome.KILLED
    assert run("import ctypes; ctypes.string_at(0)").outcome is Outcome.KILLED


def test_the_processor_limit_counts_fractions_of_a_second(run: Run) -> None:
    result = run("while True: pass", limits=Limits(cpu_seconds=0.2, wall_seconds=60))
    assert result.outcome is Outcome.TIMEOUT
    assert "processor" in result.detail


def test_output_before_a_kill_is_kept(run: Run, short: Limits) -> None:
    result = run("print('seen', flush=True)\nwhile True: pass", limits=short)
    assert (result.outcome, result.stdout) == (Outcome.TIMEOUT, "seen\n")


def test_files_are_limited_in_size(run: Run) -> None:
    result = run("open('f', 'wb').write(bytes(10_000))", limits=Limits(file_bytes=5000))
    assert result.raised is not None
    assert result.raised.type == "OSError"


def test_every_execution_starts_in_an_empty_folder(sandbox: Sandbox) -> None:
    source = "import os\nseen = os.listdir('.')\nopen('left', 'w').close()"
    results = sandbox.run([Execution(source=source, call=Call("seen"))] * 4)
    assert [result.value for result in results] == [[]] * 4


def test_the_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with Sandbox() as fresh:
        (result,) = fresh.run(
            [Execution(source="import os", call=Call("(dict(os.environ), dict(os.environb))"))]
        )
    names = set(result.value[0])
    assert names == {"LANG", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "TMPDIR", "TZ"}


def test_the_same_program_behaves_the_same(sandbox: Sandbox) -> None:
    source = "import random\nx = (random.random(), hash('a'), list({'a', 'b', 'c'}))"
    execution = Execution(source=source, call=Call("x"))
    with Sandbox() as other:
        values = [r.value for r in sandbox.run([execution] * 3) + other.run([execution])]
    assert values == [values[0]] * 4


def test_results_are_in_the_order_of_the_requests(sandbox: Sandbox) -> None:
    executions = [
        Execution(source=f"import time; time.sleep({0.05 if n % 3 else 0})", call=Call(str(n)))
        for n in range(20)
    ]
    assert [r.value for r in sandbox.run(executions)] == list(range(20))
    assert sandbox.run([]) == []


def test_threads_share_a_sandbox(sandbox: Sandbox) -> None:
    answers: dict[int, list[object]] = {}

    def work(number: int) -> None:
        executions = [Execution(source="", call=Call(f"{number}, {n}")) for n in range(5)]
        answers[number] = [r.value for r in sandbox.run(executions)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: [(n, i) for i in range(5)] for n in range(4)}


INSTRUMENT = """
import sys

class Instrument:
    def __init__(self, options, memory):
        self.memory, self.first = memory, options["first"]

    def start(self):
        self.memory[0] = self.first
        sys.settrace(self.trace)

    def trace(self, frame, event, argument):
        if frame.f_code.co_filename == "<program>":
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


def test_an_instrument_watches_the_program(run: Run, instrument: Instrument) -> None:
    result = run("x = 1\ny = 2", "x + y", instrument=instrument)
    assert result.value == 3
    assert result.memory == bytes([7, 4, 8, 6])  # call, two lines, return


def test_an_instrument_hears_of_the_exception(run: Run, instrument: Instrument) -> None:
    assert run("1 / 0", instrument=instrument).memory[2] == 9


def test_an_instruments_memory_survives_a_kill(
    run: Run, instrument: Instrument, short: Limits
) -> None:
    result = run("while True: pass", instrument=instrument, limits=short)
    assert result.outcome is Outcome.TIMEOUT
    assert result.memory[0] == 7
    assert len(result.memory) == 2  # it never came to an end


def test_an_instrument_that_changed_is_loaded_anew(run: Run, instrument: Instrument) -> None:
    assert run("", instrument=instrument).memory[2] == 8
    Path(instrument.path).write_text(INSTRUMENT.replace("else 8", "else 88"))
    assert run("", instrument=instrument).memory[2] == 88


def test_a_fork_gets_a_server_of_its_own(sandbox: Sandbox) -> None:
    sandbox.run([Execution(source="")])
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            (result,) = sandbox.run([Execution(source="", call=Call("6 * 7"))])
            sandbox.close()
            os.write(writer, str(result.value).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        assert pipe.read() == b"42"
    os.waitpid(pid, 0)
    assert sandbox.run([Execution(source="", call=Call("1"))])[0].value == 1
