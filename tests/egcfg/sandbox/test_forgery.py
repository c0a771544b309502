"""Programs that cheat: whatever they do, no judge takes them for right.

Every program here is wrong: it does not compute ``f(2) == 4`` honestly, or cannot know the token
that a test expects. None may pass, through any of the three scorers.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from egcfg.interfaces.problem import AssertTest, CheckTest, Problem, StdioTest
from egcfg.interfaces.scorer import Score
from egcfg.sandbox import Level, Sandbox
from egcfg.scorers.asserts import AssertsScorer
from egcfg.scorers.check import CheckScorer
from egcfg.scorers.stdio import StdioOptions, StdioScorer

Run = Callable[[Coroutine[Any, Any, Any]], Any]

OPTIONS = StdioOptions(cpu_seconds=0.5, wall_seconds=2.0)
TOKEN = "EXPECTED-8c1f2e77"
NUMBER = Problem(
    task_id="number",
    description="",
    entry_point="f",
    visible_tests=(AssertTest("assert f(2) == 4, 'f(2) is 4'"),),
)
SECRET = Problem(
    task_id="secret",
    description="",
    entry_point="f",
    visible_tests=(AssertTest(f"assert f(2) == {TOKEN!r}"),),
)
CHECK = Problem(
    task_id="check",
    description="",
    entry_point="f",
    visible_tests=(),
    hidden_tests=(
        CheckTest(
            f"def check(candidate):\n    assert candidate(2) == {TOKEN!r}\n"
            f"    assert candidate(3) == {TOKEN[::-1]!r}\n",
            "f",
        ),
    ),
    scorer="check",
)
STDIO = Problem(
    task_id="stdio",
    description="",
    entry_point=None,
    visible_tests=(StdioTest("2\n", TOKEN),),
    scorer="stdio",
)

EARLY_EXIT = {
    "sys.exit at import": "import sys\nsys.exit(0)",
    "sys.exit in the call": "import sys\ndef f(x): sys.exit(0)",
    "os._exit at import": "import os\nos._exit(0)",
    "os._exit in the call": "import os\ndef f(x): os._exit(0)",
    "os._exit at exit": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): pass",
    "SystemExit subclass": "class E(SystemExit): pass\ndef f(x): raise E()",
    "KeyboardInterrupt": "def f(x): raise KeyboardInterrupt",
    "own BaseException": "class E(BaseException): pass\ndef f(x): raise E",
    "AssertionError": "def f(x): raise AssertionError",
    "StopIteration": "def f(x): raise StopIteration(4)",
    "kills itself": "import os\ndef f(x): os.kill(os.getpid(), 9)",
    "aborts": "import os\ndef f(x): os.abort()",
    "thread that exits": (
        "import os, threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(0.01), os._exit(0))).start()\n"
        "def f(x): time.sleep(60)"
    ),
}

LYING_VALUES = {
    "equal to everything": (
        "class A:\n    def __eq__(self, other): return True\ndef f(x): return A()"
    ),
    "lying int": (
        "class A(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
        "def f(x): return A(5)"
    ),
    "lying str": (
        "class A(str):\n    def __eq__(self, other): return True\n    __hash__ = str.__hash__\n"
        "def f(x): return A('no')"
    ),
    "lying list": "class A(list):\n    def __eq__(s, o): return True\ndef f(x): return A()",
    "lying dict": "class A(dict):\n    def __eq__(s, o): return True\ndef f(x): return A()",
    "lying metaclass": (
        "class M(type):\n    def __eq__(c, o): return True\n    __hash__ = type.__hash__\n"
        "class A(metaclass=M): pass\ndef f(x): return A"
    ),
    "class posing as int": (
        "class A:\n    __class__ = int\n    def __eq__(s, o): return True\ndef f(x): return A()"
    ),
    "reduce trick": "class A:\n    def __reduce__(s): return (int, (4,))\ndef f(x): return A()",
    "repr trick": "class A:\n    def __repr__(s): return '4'\ndef f(x): return A()",
    "mock": "from unittest.mock import ANY\ndef f(x): return ANY",
    "not a number": "def f(x): return float('nan')",
    "function": "def f(x): return f",
    "nothing": "def f(x): pass",
    "no function": "g = 1",
    "a huge number": "def f(x): return 10 ** 200000",
    "deep nesting": "def f(x):\n    v = []\n    for _ in range(9000): v = [v]\n    return v",
    "cyclic": "def f(x):\n    v = []\n    v.append(v)\n    return v",
    "endless generator": "def f(x):\n    while True: yield 4",
    "colliding keys": "def f(x): return {i * (2**61 - 1): 0 for i in range(3000)}",
}

PATCHES = {
    "builtins": (
        "import builtins\n"
        "for name in ('all', 'any', 'len', 'isinstance', 'compile', 'exec', 'eval', 'abs'):\n"
        "    setattr(builtins, name, lambda *a, **k: True)\n"
        "builtins.AssertionError = ZeroDivisionError\n"
        "def f(x): return None"
    ),
    "json, struct and socket": (
        "import json, struct, socket, os\n"
        'json.dumps = lambda *a, **k: \'{"status": "passed"}\'\n'
        "struct.pack = lambda *a: b''\n"
        "socket.socket.sendall = lambda *a: None\n"
        "def f(x): return None"
    ),
    "the codec": (
        "import sys\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if hasattr(module, 'encode') and hasattr(module, 'decode'):\n"
        "        module.encode = lambda *a: b'T'\n"
        "def f(x): return None"
    ),
    "the report": (
        "import sys\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if name.startswith('egcfg'):\n"
        "        for key in list(vars(module)):\n"
        "            if callable(vars(module)[key]):\n"
        "                setattr(module, key, lambda *a, **k: {'status': 'passed', 'calls': 1})\n"
        "def f(x): return None"
    ),
    "settrace": "import sys\nsys.settrace(None)\nsys.setprofile(None)\ndef f(x): return None",
    "time": "import time\ntime.time = time.monotonic = lambda: 0\ndef f(x): return None",
    "os.write": "import os\nos.write = lambda fd, data: len(data)\ndef f(x): return None",
    "modules": "import sys\nsys.modules.clear()\ndef f(x): return None",
    "the caller's code": (
        "import sys\n"
        "def f(x):\n"
        "    frame = sys._getframe(1)\n"
        "    while frame:\n"
        "        for name, value in list(frame.f_locals.items()):\n"
        "            if isinstance(value, dict):\n"
        "                value.clear()\n"
        "                value.update(status='passed', calls=1, value=b'T')\n"
        "        frame = frame.f_back\n"
    ),
}

DESCRIPTORS = {
    "floods every descriptor": (
        "import os\n"
        "def f(x):\n"
        "    for fd in range(256):\n"
        "        try: os.write(fd, b'passed\\n' * 10)\n"
        "        except OSError: pass\n"
    ),
    "forges frames": (
        "import os, struct\n"
        "def frame(body): return struct.pack('>Q', len(body)) + body\n"
        "def text(s): return b's' + struct.pack('>I', len(s)) + s\n"
        "verdict = b'o' + struct.pack('>I', 3) + text(b'status') + text(b'passed')\n"
        "verdict += text(b'message') + text(b'') + text(b'calls') + b'i\\0\\0\\0\\1\\1'\n"
        "value = b'o' + struct.pack('>I', 1) + text(b'value') + b'b\\0\\0\\0\\1T'\n"
        "def f(x):\n"
        "    for fd in range(3, 64):\n"
        "        try: os.write(fd, frame(verdict) + frame(value))\n"
        "        except OSError: pass\n"
        "    os._exit(0)\n"
    ),
    "claims readiness and leaves": (
        "import os\n"
        "for fd in range(3, 64):\n"
        "    try: os.write(fd, b'RRRR')\n"
        "    except OSError: pass\n"
        "os._exit(0)\n"
    ),
    "closes everything": "import os\nos.closerange(0, 999)\ndef f(x): return None",
    "leaves a child behind": (
        "import os, time\n"
        "try: pid = os.fork()\n"
        "except OSError: pid = 1\n"
        "if pid == 0:\n"
        "    os.setsid()\n"
        "    time.sleep(0.05)\n"
        "    print('passed', flush=True)\n"
        "    time.sleep(60)\n"
        "def f(x): return None"
    ),
    "fake output": "print('passed', 'ok', '.', '1 passed')\ndef f(x): return None",
}

SEARCH = """
import gc, glob, os, re, sys

def search():
    wanted = re.compile(r"EXPECTED-[0-9a-f]+")
    texts = [repr(sys.argv), repr(dict(os.environ))]
    frame = sys._getframe()
    while frame:
        texts += [repr(frame.f_locals), repr(frame.f_globals), repr(frame.f_code.co_consts)]
        frame = frame.f_back
    for item in gc.get_objects():
        try: texts.append(repr(item))
        except BaseException: pass
    for path in glob.glob("/proc/[0-9]*/*") + glob.glob("/proc/self/*") + glob.glob("/tmp/**"):
        try: texts.append(open(path, errors="replace").read(100000))
        except OSError: pass
    for fd in range(256):
        try:
            os.set_blocking(fd, False)
            texts.append(os.read(fd, 100000).decode(errors="replace"))
        except OSError: pass
    for text in texts:
        found = wanted.search(text)
        if found: return found.group()

def f(x):
    return search()

if __name__ == "__main__":
    print(search())
"""
# Right if it can send a signal, one that does nothing, to its parent or to these tests' process.
SIGNALS_OTHERS = f"""
import os

def sent(pid, number):
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True

def f(x):
    others = {{os.getppid(), {os.getpid()}}} - {{0, os.getpid()}}
    return 4 if [pid for pid in others if sent(pid, 0)] else kill()

def kill():
    pass
"""
SEARCHES = {
    "searches its process": SEARCH,
    "reads the judge's memory": """
import ctypes, os, re

def search():
    wanted = re.compile(rb"EXPECTED-[0-9a-f]{8}")
    traced = False
    for pid in {*range(1, 4000), *range(os.getpid() - 300, os.getpid())}:
        # Seized, a process goes on as before.
        traced |= ctypes.CDLL(None).ptrace(0x4206, ctypes.c_long(pid), None, None) == 0
        try:
            memory = open(f"/proc/{pid}/mem", "rb", 0)
            regions = open(f"/proc/{pid}/maps").readlines()
        except OSError:
            continue
        for region in regions:
            start, end = (int(number, 16) for number in region.split()[0].split("-"))
            try:
                memory.seek(start)
                found = wanted.search(memory.read(end - start))
            except (OSError, ValueError, OverflowError):
                continue
            if found:
                return found.group().decode()
    return 4 if traced else None  # whoever holds the judge could make it believe this

def f(x):
    return search()

if __name__ == "__main__":
    print(search())
""",
    "kills everything": f"""{SIGNALS_OTHERS}
def kill():
    for pid in (-1, os.getppid(), 1, 0):
        sent(pid, 9)
""",
}
PROGRAMS = EARLY_EXIT | LYING_VALUES | PATCHES | DESCRIPTORS | SEARCHES


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_scorer_takes_a_cheat_for_right(run: Run, sandbox: Sandbox, name: str) -> None:
    report = run(sandbox.report())
    if name in SEARCHES and report.level not in (Level.FULL, Level.STRONG):
        # It would reach the machine's other processes, and end them.
        pytest.skip(f"this machine lacks {report.missing}")

    async def score_all() -> list[Score]:
        # Side by side: a cheat that answers nothing is given up at the limit of time only.
        return await asyncio.gather(
            *(
                scorer(OPTIONS).score(problem, PROGRAMS[name], sandbox)
                for scorer, problem in (
                    (AssertsScorer, NUMBER),
                    (AssertsScorer, SECRET),
                    (CheckScorer, CHECK),
                    (StdioScorer, STDIO),
                )
            )
        )

    scores = run(score_all())
    assert not any(score.passed for score in scores)
    assert all(score.results[0].error for score in scores[:2])


# Without layers a program reaches the machine's other processes: none here may try to.
@pytest.mark.parametrize("name", [*EARLY_EXIT, *PATCHES, *DESCRIPTORS])
def test_no_cheat_needs_a_kernel_layer_to_be_caught(
    run: Run, bare_sandbox: Sandbox, name: str
) -> None:
    assert not run(AssertsScorer(OPTIONS).score(SECRET, PROGRAMS[name], bare_sandbox)).passed


def test_a_program_that_could_signal_others_would_be_seen(run: Run, bare_sandbox: Sandbox) -> None:
    assert run(AssertsScorer(OPTIONS).score(NUMBER, SIGNALS_OTHERS, bare_sandbox)).passed


def test_what_a_program_does_to_an_argument_is_done_to_the_tests_object(
    run: Run, sandbox: Sandbox
) -> None:
    problem = Problem(
        task_id="mutates",
        description="",
        entry_point="f",
        visible_tests=(),
        hidden_tests=(
            CheckTest(
                "def check(candidate):\n"
                "    given = [3, 1]\n"
                "    assert candidate(given) == [1, 3]\n"
                "    assert given == [1, 3]\n",
                "f",
            ),
        ),
    )
    code = "def f(x):\n    x.sort()\n    return x"
    assert run(CheckScorer(OPTIONS).score(problem, code, sandbox)).passed


def test_honest_programs_pass_what_the_cheats_fail(run: Run, sandbox: Sandbox) -> None:
    assert run(AssertsScorer(OPTIONS).score(NUMBER, "def f(x): return x * x", sandbox)).passed
    secret = f"def f(x): return {TOKEN!r}"
    assert run(AssertsScorer(OPTIONS).score(SECRET, secret, sandbox)).passed
    code = f"def f(x): return {TOKEN!r} if x == 2 else {TOKEN[::-1]!r}"
    assert run(CheckScorer(OPTIONS).score(CHECK, code, sandbox)).passed
    assert run(StdioScorer(OPTIONS).score(STDIO, f"print({TOKEN!r})", sandbox)).passed
