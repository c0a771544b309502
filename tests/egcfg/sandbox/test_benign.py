"""Odd but honest programs: none of them is to notice the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from egcfg.sandbox import Call, Execution, ExecutionResult, Outcome, Sandbox

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Execute = Callable[..., ExecutionResult]

PROGRAMS = {
    "threads": (
        "import threading\n"
        "seen = []\n"
        "threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(8)]\n"
        "for t in threads: t.start()\n"
        "for t in threads: t.join()\n",
        "sorted(seen)",
        list(range(8)),
    ),
    "thread pool": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool: squares = list(pool.map(lambda n: n * n, range(5)))",
        "squares",
        [0, 1, 4, 9, 16],
    ),
    "recursion to 900": ("def f(n): return 0 if n == 0 else 1 + f(n - 1)", "f(900)", 900),
    "recursion error": (
        "def f(): return f()\ntry:\n    f()\n    x = 'no'\nexcept RecursionError:\n    x = 'yes'",
        "x",
        "yes",
    ),
    "temporary files": (
        "import os, tempfile\n"
        "with tempfile.NamedTemporaryFile('w+') as file:\n"
        "    file.write('text')\n    file.seek(0)\n    text = file.read()\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    os.mkdir(os.path.join(folder, 'a'))\n    listed = os.listdir(folder)\n"
        "os.chmod('.', 0o755)\n",
        "text, listed",
        ("text", ["a"]),
    ),
    "generators": (
        "def g(n):\n    while n:\n        n = (yield n) or n - 1\n",
        "list(g(3))",
        [3, 2, 1],
    ),
    "async": (
        "import asyncio\n"
        "async def g(n):\n    await asyncio.sleep(0.001)\n    return n\n"
        "async def f(): return await asyncio.gather(*map(g, range(3)))\n",
        "asyncio.run(f())",
        [0, 1, 2],
    ),
    "dataclasses": (
        "from __future__ import annotations\n"
        "from dataclasses import asdict, dataclass\n"
        "from typing import ClassVar, get_type_hints\n"
        "@dataclass(order=True, frozen=True)\n"
        "class P:\n    x: int\n    y: list[int]\n    z: ClassVar[int] = 1\n",
        "asdict(P(1, [2])), sorted(get_type_hints(P))",
        ({"x": 1, "y": [2]}, ["x", "y", "z"]),
    ),
    "pickle": (
        "import pickle\nclass A:\n    x = 1\n",
        "pickle.loads(pickle.dumps(A())).x",
        1,
    ),
    "unicode": ("def f(s): return s[::-1] + '\\U0001f600\\x00'", "f('añ')", "ña\U0001f600\0"),
    "surrogates": ("x = '\\ud800'", "x, ascii(x)", ("\ud800", "'\\ud800'")),
    "huge integers": ("x = 3 ** 20000", "x % 10**9", 3**20000 % 10**9),
    "numeric types": (
        "from fractions import Fraction as F\nfrom decimal import Decimal as D",
        "F(1, 3) + 1, D('0.1') * 3, 1j ** 2",
        None,
    ),
    "patched time": ("import time\ntime.time = lambda: 5", "time.time()", 5),
    "signal handler": (
        "import signal, time\n"
        "seen = []\n"
        "signal.signal(signal.SIGALRM, lambda *_: seen.append(1))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.01)\n"
        "time.sleep(0.1)\n",
        "seen",
        [1],
    ),
    "standard modules": (
        "import bz2, csv, ctypes, hashlib, lzma, queue, sqlite3, uuid, zlib, zoneinfo\n"
        "db = sqlite3.connect(':memory:')\n",
        "db.execute('select 1').fetchone(), uuid.uuid4().version, hashlib.md5(b'').hexdigest()[:4]",
        ((1,), 4, "d41d"),
    ),
    "captured output": (
        "import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out: print('inside')",
        "out.getvalue()",
        "inside\n",
    ),
    "empty input": ("import sys", "sys.stdin.read()", ""),
    "own name": ("x = __name__", "x, __builtins__ is not None", ("program", True)),
    "real work": (
        "def primes(n):\n"
        "    sieve = bytearray([1]) * n\n"
        "    for i in range(2, n):\n"
        "        if sieve[i]:\n"
        "            for j in range(i * i, n, i): sieve[j] = 0\n"
        "    return sum(sieve) - 2\n",
        "primes(1_000_000)",
        78498,
    ),
    "a second of work": (
        "import time\n"
        "def work():\n"
        "    total = 0\n"
        "    while time.process_time() < 1.0:\n"
        "        total += sum(n * n for n in range(1000))\n"
        "    return total > 0\n",
        "work()",
        True,
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_honest_programs_run_as_anywhere(execute: Execute, name: str) -> None:
    source, call, expected = PROGRAMS[name]
    result = execute(source, call)
    assert (result.outcome, result.raised, result.unsupported) == (Outcome.OK, None, None)
    if expected is None:
        namespace: dict[str, object] = {}
        exec(source, namespace)
        expected = eval(call, namespace)
    assert result.value == expected


@pytest.mark.parametrize("name", PROGRAMS)
def test_honest_programs_need_no_layer(run: Run, bare_sandbox: Sandbox, name: str) -> None:
    source, call, _ = PROGRAMS[name]
    (result,) = run(bare_sandbox.run([Execution(source=source, call=Call(call))]))
    assert result.outcome is Outcome.OK
